//! What goes over the wire, and what is made of the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use actix_web::http::header::HttpDate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;

const TOKEN: &str = "test-access-token";

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "a request that ends early");
    }
    String::from_utf8(request).unwrap()
}

/// A server that takes one request, gives it back, and answers with these bytes.
async fn server(answer: impl Into<Vec<u8>>) -> (Url, JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = head(&mut stream).await;
        // Who has read enough hangs up.
        let _ = stream.write_all(&answer).await;
        request
    });
    (url.parse().unwrap(), served)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn token() -> Token {
    Token::new(TOKEN.to_owned())
}

fn record() -> ApiRequest {
    ApiRequest::of(&["v2", "usercollection", "sleep", "6a5f"])
}

async fn asked(answer: impl Into<Vec<u8>>) -> Result<ApiAnswer, ApiError> {
    let (url, served) = server(answer).await;
    let api = HttpVendorApi::new([(Vendor::Oura, url)], 1);
    let told = api.get(Vendor::Oura, &record(), &token()).await;
    served.await.unwrap();
    told
}

fn words(told: Result<ApiAnswer, ApiError>) -> String {
    match told {
        Err(ApiError::Unavailable(words)) => words,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[actix_web::test]
async fn path_query_and_token_go_to_the_base_which_keeps_its_own_path() {
    for (base, target) in [
        ("", "/v2/activity/a%2Fb%3Fc?start=2026-09-10T12%3A00%3A00Z&nextToken=a+%26%3D%2B%25%C3%A9"),
        ("/", "/v2/activity/a%2Fb%3Fc?start=2026-09-10T12%3A00%3A00Z&nextToken=a+%26%3D%2B%25%C3%A9"),
        (
            "/developer/",
            "/developer/v2/activity/a%2Fb%3Fc?start=2026-09-10T12%3A00%3A00Z&nextToken=a+%26%3D%2B%25%C3%A9",
        ),
    ] {
        let (url, served) = server(answer("200 OK", "", "{}")).await;
        let base = url.join(base).unwrap();
        let api = HttpVendorApi::new([(Vendor::Whoop, base)], 1);
        let request = ApiRequest::of(&["v2", "activity", "a/b?c"])
            .with("start", "2026-09-10T12:00:00Z")
            .with("nextToken", "a &=+%é");
        let told = api.get(Vendor::Whoop, &request, &token()).await.unwrap();
        assert_eq!(told, ApiAnswer { body: "{}".into(), rest: None });
        let request = served.await.unwrap();
        assert!(request.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{request}");
        let bearer = format!("authorization: bearer {TOKEN}\r\n");
        assert!(request.to_ascii_lowercase().contains(&bearer), "{request}");
    }
    let (url, served) = server(answer("200 OK", "", "{}")).await;
    let api = HttpVendorApi::new([(Vendor::Oura, url.join("/developer").unwrap())], 1);
    api.get(Vendor::Oura, &record(), &token()).await.unwrap();
    let request = served.await.unwrap();
    let line = "GET /developer/v2/usercollection/sleep/6a5f HTTP/1.1\r\n";
    assert!(request.starts_with(line), "no query, no question mark: {request}");
}

#[actix_web::test]
async fn each_status_means_one_thing() {
    let told = async |status: &str| asked(answer(status, "", "{}")).await.unwrap_err();
    assert_eq!(told("401 Unauthorized").await, ApiError::Unauthorized);
    assert_eq!(told("404 Not Found").await, ApiError::Missing);
    for status in ["400", "403", "405", "410", "422"] {
        let refused = ApiError::Refused { status: status.parse().unwrap() };
        assert_eq!(told(&format!("{status} Whatever")).await, refused);
    }
    for status in ["408", "500", "502", "503", "504", "599", "301", "302", "304", "307", "407"] {
        let words = ApiError::Unavailable(format!("it answers {status}"));
        assert_eq!(told(&format!("{status} Whatever")).await, words);
    }
    let told = asked(answer("503 Busy", "Retry-After: 120\r\n", "{}")).await;
    assert_eq!(told, Err(ApiError::Overloaded { retry_after: Duration::from_secs(120) }));
    let told = asked(answer("503 Busy", "X-RateLimit-Reset: 60\r\n", "{}")).await;
    assert_eq!(
        told,
        Err(ApiError::Unavailable("it answers 503".to_owned())),
        "the window says nothing of it"
    );
}

#[actix_web::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, served) = server(answer("200 OK", "", "{}")).await;
    let location = format!("location: {elsewhere}\r\n");
    let told = asked(answer("307 Temporary Redirect", &location, "")).await;
    assert_eq!(told, Err(ApiError::Unavailable("it answers 307".to_owned())));
    assert!(!served.is_finished());
    served.abort();
}

#[actix_web::test]
async fn who_is_asked_for_patience_knows_for_how_long() {
    let whole = |seconds| Some(Duration::from_secs(seconds));
    let year = whole(365 * 86_400);
    for (headers, retry_after) in [
        ("retry-after: 7\r\n", whole(7)),
        ("retry-after: 0\r\n", whole(0)),
        ("x-ratelimit-reset: 9\r\n", whole(9)),
        ("retry-after: 7\r\nx-ratelimit-reset: 9\r\n", whole(7)),
        ("retry-after: soon\r\nx-ratelimit-reset: 9\r\n", whole(9)),
        ("retry-after: 99999999999999999999999\r\n", year),
        ("retry-after: -3\r\n", None),
        ("", None),
        // The vendor's clock is an hour behind; it means ten seconds.
        ("date: Thu, 10 Sep 2026 12:00:00 GMT\r\nretry-after: Thu, 10 Sep 2026 12:00:10 GMT\r\n", whole(10)),
        ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", whole(0)),
    ] {
        let told = asked(answer("429 Too Many Requests", headers, "")).await;
        assert_eq!(told, Err(ApiError::RateLimited { retry_after }), "{headers}");
    }
    let in_a_minute = HttpDate::from(SystemTime::now() + Duration::from_secs(60));
    let headers = format!("retry-after: {in_a_minute}\r\n");
    match asked(answer("429 Too Many Requests", &headers, "")).await {
        Err(ApiError::RateLimited { retry_after: Some(rest) }) => {
            assert!(rest > Duration::from_secs(50) && rest <= Duration::from_secs(60), "{rest:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn the_last_request_of_a_window_says_so() {
    for (headers, rest) in [
        ("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 9\r\n", Some(9)),
        ("x-ratelimit-remaining: 1\r\nx-ratelimit-reset: 9\r\n", None),
        ("x-ratelimit-remaining: 0\r\n", None),
        ("x-ratelimit-reset: 9\r\n", None),
    ] {
        let told = asked(answer("200 OK", headers, "{}")).await.unwrap();
        assert_eq!(told.rest, rest.map(Duration::from_secs), "{headers}");
    }
}

#[actix_web::test]
async fn an_answer_may_be_long_and_not_too_long() {
    let told = asked(answer("200 OK", "", &"x".repeat(ANSWER_MAX_BYTES))).await.unwrap();
    assert_eq!(told.body.len(), ANSWER_MAX_BYTES);
    let told = words(asked(answer("200 OK", "", &"x".repeat(ANSWER_MAX_BYTES + 1))).await);
    assert_eq!(told, format!("its answer is longer than {ANSWER_MAX_BYTES} bytes"));
}

#[actix_web::test]
async fn an_answer_that_is_cut_off_is_none() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "not HTTP\r\n\r\n",
        "",
    ] {
        assert_eq!(words(asked(cut).await), "the connection broke", "{cut}");
    }
}

#[actix_web::test]
async fn what_cannot_be_asked_is_told_without_addresses_and_tokens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let api = HttpVendorApi::new([(Vendor::Oura, url)], 1);
    let told = words(api.get(Vendor::Oura, &record(), &token()).await);
    assert_eq!(told, "it cannot be connected to");
    let told = words(api.get(Vendor::Whoop, &record(), &token()).await);
    assert_eq!(told, "no address of whoop's API is set");
    // No request is sent with it.
    let no_header = Token::new("two\r\nlines".to_owned());
    assert_eq!(api.get(Vendor::Oura, &record(), &no_header).await, Err(ApiError::Unauthorized));
}

/// A server that answers once it is released, and knows how many requests it held at most.
struct Gate {
    url: Url,
    came: mpsc::UnboundedReceiver<()>,
    release: watch::Sender<bool>,
    most: Arc<AtomicUsize>,
}

impl Gate {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (coming, came) = mpsc::unbounded_channel();
        let (release, released) = watch::channel(false);
        let (most, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (coming, mut released) = (coming.clone(), released.clone());
                let (seen, held) = (Arc::clone(&seen), Arc::clone(&held));
                tokio::spawn(async move {
                    head(&mut stream).await;
                    seen.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    coming.send(()).unwrap();
                    released.wait_for(|released| *released).await.unwrap();
                    held.fetch_sub(1, Ordering::SeqCst);
                    let last = answer("200 OK", "connection: close\r\n", "{}");
                    stream.write_all(last.as_bytes()).await.unwrap();
                });
            }
        });
        Self { url, came, release, most }
    }
}

#[actix_web::test]
async fn an_address_of_the_vendors_making_is_asked_on_the_configured_host_and_on_no_other() {
    let base: Url = "https://payloads.example:8443/v2".parse().unwrap();
    let url = |link: &str| address(&base, &ApiRequest::link(link)).map(String::from);
    let on_host = "https://payloads.example:8443/a%20b?X-Amz-Signature=a%2Fb";
    assert_eq!(url("/a%20b?X-Amz-Signature=a%2Fb").as_deref(), Some(on_host));
    // The operator has set the base since it came.
    assert_eq!(url(on_host).as_deref(), Some(on_host));
    for elsewhere in [
        "http://payloads.example:8443/a",
        "https://payloads.example/a",
        "https://payloads.example:8443.evil/a",
        "https://payloads.example:8443@evil/a",
        "https://payloads.example:84430/a",
        r"https://evil\@payloads.example:8443/a",
        "https://evil/https://payloads.example:8443/a",
        "https://169.254.169.254/latest/meta-data",
        "//evil/a",
        "@evil/a",
        "",
    ] {
        let url = url(elsewhere);
        let is_ours = url.as_ref().is_none_or(|url| url.starts_with("https://payloads.example:8443/"));
        assert!(is_ours && (url.is_none() || elsewhere.starts_with('/')), "{elsewhere}: {url:?}");
    }
    let api = HttpVendorApi::new([(Vendor::Terra, base)], 1);
    let told = api.get(Vendor::Terra, &ApiRequest::link("http://127.0.0.1:1/a"), &token()).await;
    let told = told.unwrap_err();
    assert_eq!(told, ApiError::Elsewhere { vendor: Vendor::Terra });
    let words = "the address that it has given is not on the host of TERRA_API_BASE";
    assert_eq!(told.to_string(), words, "it does not tell the address, which opens something");
}

#[actix_web::test]
async fn a_storage_tells_that_an_address_was_good_for_a_while_only() {
    let told = async |status: &str, code: &str, message: &str, request: ApiRequest| {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
        let body = format!("{xml}\n<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let (url, served) = server(answer(status, "", &body)).await;
        let told = HttpVendorApi::new([(Vendor::Terra, url)], 1).get(Vendor::Terra, &request, &token()).await;
        served.await.unwrap();
        told.unwrap_err()
    };
    let link = || ApiRequest::link("/a?X-Amz-Signature=b");
    let refused = |status| ApiError::Refused { status };
    let (denied, over) = ("AccessDenied", "Request has expired");
    for (status, code, message, error) in [
        ("403 Forbidden", denied, over, ApiError::Expired),
        ("400 Bad Request", "ExpiredToken", "The provided token has expired.", ApiError::Expired),
        // What is not there is denied, too, to whoever may not list what is.
        ("403 Forbidden", denied, "Access Denied", refused(403)),
        ("403 Forbidden", "SignatureDoesNotMatch", "Check your key and signing method.", refused(403)),
        ("404 Not Found", "NoSuchKey", over, ApiError::Missing),
        ("503 Slow Down", "SlowDown", over, ApiError::Unavailable("it answers 503".to_owned())),
    ] {
        assert_eq!(told(status, code, message, link()).await, error, "{status} {code} {message}");
    }
    let long = format!("{}Request has expired", " ".repeat(1 << 20));
    assert_eq!(told("403 Forbidden", denied, &long, link()).await, refused(403));
    assert_eq!(told("403 Forbidden", denied, over, record()).await, refused(403), "it was no link");
}

#[actix_web::test]
async fn no_more_requests_than_allowed_are_under_way_over_all_vendors() {
    let mut gate = Gate::open().await;
    let bases = [(Vendor::Oura, gate.url.clone()), (Vendor::Whoop, gate.url.clone())];
    let api = Arc::new(HttpVendorApi::new(bases, 3));
    let ask = |number: usize| {
        let api = Arc::clone(&api);
        let vendor = if number.is_multiple_of(2) { Vendor::Oura } else { Vendor::Whoop };
        tokio::spawn(async move { api.get(vendor, &record(), &token()).await })
    };
    let asked: Vec<_> = (0..10).map(ask).collect();
    for _ in 0..3 {
        gate.came.recv().await.unwrap();
    }
    assert_eq!(api.slots.free(), 0, "all that are allowed are under way");
    gate.release.send_replace(true);
    for each in asked {
        assert!(each.await.unwrap().is_ok());
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 3);
}

#[actix_web::test]
async fn a_vendor_that_never_answers_is_given_up() {
    let gate = Gate::open().await;
    let mut api = HttpVendorApi::new([(Vendor::Oura, gate.url.clone())], 1);
    assert_eq!(api.patience, Duration::from_secs(30));
    api.patience = Duration::from_millis(200);
    assert_eq!(words(api.get(Vendor::Oura, &record(), &token()).await), "it does not answer in time");
    assert_eq!(api.slots.free(), 1, "and holds nobody up");
}

#[actix_web::test]
async fn a_slow_vendor_leaves_connections_to_the_other() {
    let mut gate = Gate::open().await;
    let (quick, served) = server(answer("200 OK", "", "{}")).await;
    let api = Arc::new(HttpVendorApi::new([(Vendor::Oura, gate.url.clone()), (Vendor::Whoop, quick)], 10));
    let ask = |_| {
        let api = Arc::clone(&api);
        tokio::spawn(async move { api.get(Vendor::Oura, &record(), &token()).await })
    };
    let asked: Vec<_> = (0..20).map(ask).collect();
    for _ in 0..8 {
        gate.came.recv().await.unwrap();
    }
    assert_eq!(api.slots.free(), 2, "what the other has to itself");
    assert!(api.get(Vendor::Whoop, &record(), &token()).await.is_ok());
    served.await.unwrap();
    gate.release.send_replace(true);
    for each in asked {
        assert!(each.await.unwrap().is_ok());
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 8);
}

#[actix_web::test]
async fn few_large_answers_are_in_memory_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let large = answer("200 OK", "connection: close\r\n", &" ".repeat(SMALL_MAX_BYTES + 1));
        while let Ok((mut stream, _)) = listener.accept().await {
            head(&mut stream).await;
            stream.write_all(large.as_bytes()).await.unwrap();
        }
    });
    let api = Arc::new(HttpVendorApi::new([(Vendor::Oura, url)], 20));
    let ask = async || api.get(Vendor::Oura, &record(), &token()).await.unwrap();
    let mut held = vec![ask().await, ask().await, ask().await, ask().await];
    let mut fifth = std::pin::pin!(ask());
    let too_soon = tokio::time::timeout(Duration::from_millis(100), &mut fifth).await;
    assert!(too_soon.is_err(), "there is room for four");
    held.pop();
    assert_eq!(fifth.await.body.len(), SMALL_MAX_BYTES + 1);
}
