//! Vendors' APIs in memory: what is asked is what a test has put there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::faults::Faults;
use super::oauth::MemoryOAuth;
use crate::domain::account::{Token, Vendor};
use crate::domain::api_request::ApiRequest;
use crate::ports::VendorApi;
use crate::ports::vendor_api::{ApiAnswer, ApiError};

/// The operation of the API, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiCall {
    /// A request.
    Get,
}

/// How one request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// At once.
    Now(Result<ApiAnswer, ApiError>),
    /// After so long.
    Late(Duration, Result<ApiAnswer, ApiError>),
    /// Not until who asks gives up. What a real API's port never does: for what must not wait on one.
    Never,
}

impl Reply {
    /// With this body, at once.
    pub fn with(body: impl Into<Bytes>) -> Self {
        Self::Now(Ok(ApiAnswer { body: body.into(), rest: None }))
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        Self::Now(Err(error))
    }
}

/// One API for all vendors, which tell apart by their paths.
///
/// A target is a path with its query, not encoded: `/v2/recovery?limit=25`; what stands there under the path alone
/// answers each query. [`ApiError::Missing`] of everything else.
#[derive(Debug, Default)]
pub struct MemoryVendorApi {
    inside: Mutex<Inside>,
    faults: Faults<ApiCall, ApiError>,
    oauth: Option<Arc<MemoryOAuth>>,
}

#[derive(Debug, Default)]
struct Inside {
    standing: HashMap<String, Reply>,
    scripted: HashMap<String, VecDeque<Reply>>,
    asked: Vec<String>,
    under_way: usize,
    busiest: usize,
}

/// One request under way; over when it is dropped, as when who asked has died.
struct UnderWay<'a>(&'a Mutex<Inside>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}

impl MemoryVendorApi {
    /// One that takes only access tokens that are good at `oauth`; without one every token is.
    pub fn behind(oauth: Arc<MemoryOAuth>) -> Self {
        Self { oauth: Some(oauth), ..Self::default() }
    }

    /// What is to befall its calls.
    pub fn faults(&self) -> &Faults<ApiCall, ApiError> {
        &self.faults
    }

    /// Answers a target so, from now on.
    pub fn put(&self, target: &str, reply: Reply) {
        self.inside.lock().standing.insert(target.to_owned(), reply);
    }

    /// Answers the next requests of a target so, one after the other, before what stands there.
    pub fn script(&self, target: &str, replies: impl IntoIterator<Item = Reply>) {
        self.inside.lock().scripted.entry(target.to_owned()).or_default().extend(replies);
    }

    /// How often it was asked so far, with whatever answer.
    pub fn calls(&self) -> usize {
        self.inside.lock().asked.len()
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inside.lock().asked.clone()
    }

    /// How many requests were under way at once, at most.
    pub fn busiest(&self) -> usize {
        self.inside.lock().busiest
    }

    fn begin(&self, target: &str) -> UnderWay<'_> {
        let mut inside = self.inside.lock();
        inside.asked.push(target.to_owned());
        inside.under_way += 1;
        inside.busiest = inside.busiest.max(inside.under_way);
        UnderWay(&self.inside)
    }

    fn reply(&self, path: &str, target: &str) -> Reply {
        let mut inside = self.inside.lock();
        for place in [target, path] {
            if let Some(reply) = inside.scripted.get_mut(place).and_then(VecDeque::pop_front) {
                return reply;
            }
        }
        let standing = inside.standing.get(target).or_else(|| inside.standing.get(path));
        standing.cloned().unwrap_or_else(|| ApiError::Missing.into())
    }
}

fn target(request: &ApiRequest) -> String {
    let pairs: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { request.path.clone() } else { format!("{}?{}", request.path, pairs.join("&")) }
}

#[async_trait]
impl VendorApi for MemoryVendorApi {
    async fn get(&self, _: Vendor, request: &ApiRequest, token: &Token) -> Result<ApiAnswer, ApiError> {
        let target = target(request);
        let _under_way = self.begin(&target);
        let rest = self.faults.before(ApiCall::Get).await?;
        if self.oauth.as_ref().is_some_and(|oauth| !oauth.opens(token)) {
            return Err(ApiError::Unauthorized);
        }
        let answer = match self.reply(&request.path, &target) {
            Reply::Now(answer) => answer,
            Reply::Late(after, answer) => {
                tokio::time::sleep(after).await;
                answer
            }
            Reply::Never => std::future::pending().await,
        };
        self.faults.after(rest).await.and(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    async fn ask(api: &MemoryVendorApi, request: &ApiRequest) -> Result<ApiAnswer, ApiError> {
        api.get(Vendor::Oura, request, &Token::new("test-token".to_owned())).await
    }

    fn body(text: &'static str) -> Result<ApiAnswer, ApiError> {
        Ok(ApiAnswer { body: text.into(), rest: None })
    }

    #[actix::test]
    async fn a_target_is_answered_by_script_then_by_what_stands_there_then_not_at_all() {
        let api = MemoryVendorApi::default();
        let (path, page) =
            (ApiRequest::of(&["v2", "cycle"]), ApiRequest::of(&["v2", "cycle"]).with("page", "b"));
        assert_eq!(ask(&api, &path).await, Err(ApiError::Missing));
        api.put("/v2/cycle", Reply::with("all"));
        api.put("/v2/cycle?page=b", Reply::with("b"));
        api.script("/v2/cycle", [ApiError::Unauthorized.into(), Reply::Late(SOON, body("once"))]);
        let told = [ask(&api, &path).await, ask(&api, &path).await, ask(&api, &path).await];
        assert_eq!(told, [Err(ApiError::Unauthorized), body("once"), body("all")]);
        assert_eq!(ask(&api, &page).await, body("b"));
        assert_eq!(api.asked()[3..], ["/v2/cycle".to_owned(), "/v2/cycle?page=b".to_owned()]);
        assert_eq!((api.calls(), api.busiest()), (5, 1));
    }

    #[actix::test]
    async fn who_gives_up_is_under_way_no_more() {
        let api = MemoryVendorApi::default();
        let request = ApiRequest::of(&["x"]);
        api.put("/x", Reply::Never);
        let both = async { tokio::join!(ask(&api, &request), ask(&api, &request)) };
        assert!(tokio::time::timeout(SOON, both).await.is_err());
        api.put("/x", Reply::with("now"));
        assert_eq!(ask(&api, &request).await, body("now"));
        assert_eq!((api.busiest(), api.inside.lock().under_way), (2, 0));
    }

    #[actix::test]
    async fn faults_strike_before_and_after_and_only_good_tokens_open() {
        let oauth = Arc::new(MemoryOAuth::new(Duration::from_secs(60)));
        let api = MemoryVendorApi::behind(Arc::clone(&oauth));
        let (request, pair) = (ApiRequest::of(&["x"]), oauth.connect());
        api.put("/x", Reply::with("data"));
        let down = ApiError::Unavailable("test".to_owned());
        api.faults().fail(ApiCall::Get, 1, down.clone());
        let get = async |token| api.get(Vendor::Oura, &request, token).await;
        assert_eq!(get(&pair.access).await, Err(down.clone()));
        api.faults().script(ApiCall::Get, [super::super::Fate::FailAfter(down.clone())]);
        assert_eq!(get(&pair.access).await, Err(down));
        assert_eq!(get(&pair.access).await, body("data"));
        oauth.revoke(&pair);
        assert_eq!(get(&pair.access).await, Err(ApiError::Unauthorized));
    }
}
