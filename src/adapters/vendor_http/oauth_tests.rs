//! What goes over the wire, and what is made of the answers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A server that takes one request, gives it back, and answers so.
async fn server(status: &'static str, headers: &'static str, body: String) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "a request that ends early");
        }
        let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        // Who has read enough hangs up.
        let _ = stream.write_all(answer.as_bytes()).await;
        String::from_utf8(request).unwrap()
    });
    (url.parse().unwrap(), served)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.is_none_or(|length| body.len() >= length.trim().parse::<usize>().unwrap())
}

fn oauth(vendor: Vendor, token_url: Url) -> HttpOAuth {
    let secret = Token::new("test-client-secret".to_owned());
    HttpOAuth::new(vec![OAuthClient {
        vendor,
        credentials: Some(("test-client".to_owned(), secret)),
        token_url,
    }])
}

async fn asked(
    vendor: Vendor,
    status: &'static str,
    headers: &'static str,
    body: impl Into<String>,
) -> (Result<Grant, OAuthError>, String) {
    let (url, served) = server(status, headers, body.into()).await;
    let granted = oauth(vendor, url).refresh(vendor, &Token::new("test refresh+token".to_owned())).await;
    (granted, served.await.unwrap())
}

#[actix_web::test]
async fn a_refresh_is_a_form_with_the_credentials_and_at_whoop_with_its_scope() {
    let body = r#"{"access_token":"test-a","refresh_token":"test-r","expires_in":3600,"scope":"offline",
        "token_type":"bearer"}"#;
    let (granted, request) = asked(Vendor::Whoop, "200 OK", "", body).await;
    let token = |text: &str| Token::new(text.to_owned());
    let pair = TokenPair { access: token("test-a"), refresh: Some(token("test-r")) };
    let lasts = Some(Duration::from_secs(3_600));
    assert_eq!(granted, Ok(Grant { pair, lasts, scope: Some("offline".to_owned()) }));
    assert!(request.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{request}");
    assert!(request.to_ascii_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n"));
    let form = "grant_type=refresh_token&refresh_token=test+refresh%2Btoken&client_id=test-client&\
        client_secret=test-client-secret";
    assert_eq!(request.split_once("\r\n\r\n").unwrap().1, format!("{form}&scope=offline"));
    let (_, request) = asked(Vendor::Oura, "200 OK", "", body).await;
    assert_eq!(request.split_once("\r\n\r\n").unwrap().1, form);
}

#[actix_web::test]
async fn an_answer_without_all_of_it_is_taken_as_far_as_it_goes() {
    let (granted, _) = asked(Vendor::Oura, "200 OK", "", r#"{"access_token":"test-a"}"#).await;
    let pair = TokenPair { access: Token::new("test-a".to_owned()), refresh: None };
    assert_eq!(granted, Ok(Grant { pair: pair.clone(), lasts: None, scope: None }));
    let lasting = |seconds| Some(Duration::from_secs(seconds));
    for (rest, lasts) in [
        (r#""expires_in":"3600","scope":["offline"]"#, lasting(3_600)),
        (r#""expires_in":3600.0,"scope":7"#, lasting(3_600)),
        (r#""expires_in":1e300,"scope":null"#, None),
        (r#""expires_in":{},"refresh_token":null"#, None),
    ] {
        let body = format!(r#"{{"access_token":"test-a",{rest}}}"#);
        let (granted, _) = asked(Vendor::Whoop, "200 OK", "", body).await;
        assert_eq!(granted, Ok(Grant { pair: pair.clone(), lasts, scope: None }), "{rest}");
    }
    for body in ["", "{}", "[]", r#"{"access_token":""}"#, r#"{"access_token":7}"#, "test-a"] {
        let (granted, _) = asked(Vendor::Oura, "200 OK", "", body).await;
        let told = granted.unwrap_err().to_string();
        assert_eq!(told, "the vendor gives no tokens: its answer holds no tokens", "{body}");
    }
}

#[actix_web::test]
async fn each_refusal_means_one_thing() {
    let refused =
        async |status, headers, body: &str| asked(Vendor::Oura, status, headers, body).await.0.unwrap_err();
    for error in ["invalid_grant", "invalid_request"] {
        let body = format!(r#"{{"error":"{error}","error_description":"test"}}"#);
        assert_eq!(refused("400 Bad Request", "", &body).await, OAuthError::InvalidGrant, "{error}");
    }
    for (status, body) in [
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#),
        ("400 Bad Request", r#"{"error":"invalid_client"}"#),
        ("401 Unauthorized", "no"),
        ("404 Not Found", ""),
    ] {
        let told = refused(status, "", body).await;
        assert!(matches!(&told, OAuthError::Misconfigured(what) if what.contains("OURA_")), "{told:?}");
    }
    for (status, body) in [
        ("500 Internal Server Error", r#"{"error":"invalid_grant"}"#),
        ("503 Service Unavailable", ""),
        ("400 Bad Request", "<html>"),
        ("302 Found", ""),
        ("403 Forbidden", "{}"),
    ] {
        let told = refused(status, "location: http://127.0.0.1:1/\r\n", body).await;
        assert!(matches!(told, OAuthError::Unavailable(_)), "{status}: {told:?}");
    }
    for (headers, seconds) in
        [("retry-after: 7\r\n", Some(7)), ("x-ratelimit-reset: 9\r\n", Some(9)), ("", None)]
    {
        let retry_after = seconds.map(Duration::from_secs);
        let told = refused("429 Too Many Requests", headers, "").await;
        assert_eq!(told, OAuthError::RateLimited { retry_after }, "{headers}");
    }
}

#[actix_web::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let body = format!(r#"{{"access_token":"test-a","more":"{}"}}"#, "x".repeat(ANSWER_MAX_BYTES));
    let (granted, _) = asked(Vendor::Oura, "200 OK", "", body).await;
    assert!(granted.unwrap_err().to_string().contains("longer than"));
}

#[actix_web::test]
async fn what_cannot_be_asked_is_told_without_a_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://user:test-password@{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let token = Token::new("test-refresh".to_owned());
    let told = oauth(Vendor::Oura, url.clone()).refresh(Vendor::Oura, &token).await.unwrap_err();
    assert_eq!(told.to_string(), "the vendor gives no tokens: it cannot be connected to");
    let unset =
        HttpOAuth::new(vec![OAuthClient { vendor: Vendor::Whoop, credentials: None, token_url: url }]);
    for vendor in [Vendor::Whoop, Vendor::Oura] {
        let told = unset.refresh(vendor, &token).await.unwrap_err().to_string();
        let name = vendor.name().to_ascii_uppercase();
        assert_eq!(told, format!("{name}_CLIENT_ID and {name}_CLIENT_SECRET are not set"));
    }
}
