//! Where WHOOP's API has what its notifications tell of (vendors.md §3).

use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::{WhoopActivity, WhoopFetch, WhoopRecords};

/// The most records that WHOOP puts on a page.
const PAGE_MAX: &str = "25";

/// The request of a fetch, under `https://api.prod.whoop.com/developer`.
pub(in crate::vendors) fn request(fetch: &WhoopFetch) -> ApiRequest {
    match fetch {
        WhoopFetch::Activity { kind, id } => ApiRequest::of(&["v2", "activity", activity(*kind), id]),
        WhoopFetch::Mapped { v1_id, .. } => ApiRequest::of(&["v1", "activity-mapping", v1_id]),
        WhoopFetch::CycleOfSleep { sleep_id } => ApiRequest::of(&["v2", "activity", "sleep", sleep_id]),
        WhoopFetch::Recovery { cycle_id } => ApiRequest::of(&["v2", "cycle", cycle_id, "recovery"]),
        WhoopFetch::Records { records, from, to, page, .. } => {
            let request = match records {
                WhoopRecords::Sleeps => ApiRequest::of(&["v2", "activity", "sleep"]),
                WhoopRecords::Workouts => ApiRequest::of(&["v2", "activity", "workout"]),
                WhoopRecords::Recoveries => ApiRequest::of(&["v2", "recovery"]),
                WhoopRecords::Cycles => ApiRequest::of(&["v2", "cycle"]),
            };
            request
                .with("start", from.to_string())
                .with("end", to.to_string())
                .with("limit", PAGE_MAX)
                .with_page("nextToken", page.as_ref())
        }
        WhoopFetch::Body => ApiRequest::of(&["v2", "user", "measurement", "body"]),
    }
}

const fn activity(kind: WhoopActivity) -> &'static str {
    match kind {
        WhoopActivity::Sleep => "sleep",
        WhoopActivity::Workout => "workout",
    }
}
