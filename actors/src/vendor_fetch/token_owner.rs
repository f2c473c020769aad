//! Whose an access token is that serves every account without tokens of its own (`OURA_ACCESS_TOKEN`).
//!
//! A user of ours without a link is no account that the vendor knows. Records must be known by the vendor's own id all the
//! same, or those that are fetched again once the account is linked would be other records.

use super::job::{Job, LATER};
use super::schedule::Setback;
use crate::domain::account::VendorUserId;
use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::Whose;
use crate::messages::AccessToken;
use crate::ports::vendor_api::ApiError;

/// The version of the token that is nobody's: those of accounts are greater.
const NOBODYS: i64 = 0;

impl Job {
    /// The vendor's id of the person whose data this token opens, if the question names a user of ours and the token is
    /// nobody's. The vendor is asked once for all; if it does not say, the user's own name has to do.
    pub(super) async fn owner_of(&self, token: &AccessToken) -> Result<Option<String>, Setback> {
        let is_named = matches!(self.claimed.job.whose, Whose::Vendor(_));
        if token.version != NOBODYS || is_named {
            return Ok(None);
        }
        let asked = self.parts.common.token_owner.get_or_try_init(|| self.ask_owner(token)).await?;
        Ok(asked.as_ref().map(|id| id.as_str().to_owned()))
    }

    /// Oura's `id` of its `personal_info` is the `user_id` of its notifications (vendors.md §2).
    async fn ask_owner(&self, token: &AccessToken) -> Result<Option<VendorUserId>, Setback> {
        self.wait_for_rest()?;
        self.take_request(None).await?;
        let request = ApiRequest::of(&["v2", "usercollection", "personal_info"]);
        match self.parts.api.get(self.parts.vendor, &request, &token.token).await {
            Ok(answer) => {
                let told: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
                Ok(told.and_then(|told| VendorUserId::parse(told["id"].as_str()?).ok()))
            }
            // It is not allowed to say, or does not know the question.
            Err(ApiError::Missing | ApiError::Refused { .. }) => Ok(None),
            Err(ApiError::RateLimited { retry_after }) => Err(self.limited(retry_after).await),
            // Nobody but who has set it can mend that.
            Err(ApiError::Unauthorized) => Err(Setback::NotNow(LATER)),
            Err(error) => Err(Setback::Failed(error.to_string())),
        }
    }
}
