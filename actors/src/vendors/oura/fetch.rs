//! Where Oura's API has what its notifications tell of (vendors.md §2).

use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::{OuraDataType, OuraFetch};
use crate::domain::time::UtcOffset;
use crate::vendors::fetch::date;

/// The request of a fetch, under `https://api.ouraring.com`.
pub(in crate::vendors) fn request(fetch: &OuraFetch, zone: UtcOffset) -> ApiRequest {
    let collection = |name: &str| ApiRequest::of(&["v2", "usercollection", name]);
    match fetch {
        OuraFetch::Record { data_type, id } => {
            ApiRequest::of(&["v2", "usercollection", path_name(*data_type), id])
        }
        OuraFetch::Days { data_type, from, to, page, .. } => collection(path_name(*data_type))
            .with("start_date", date(*from, zone))
            .with("end_date", date(*to, zone))
            .with_page("next_token", page.as_ref()),
        OuraFetch::HeartRate { from, to, page, .. } => collection("heartrate")
            .with("start_datetime", from.to_string())
            .with("end_datetime", to.to_string())
            .with_page("next_token", page.as_ref()),
    }
}

/// The name in paths, which for one type is not that of its notifications.
const fn path_name(data_type: OuraDataType) -> &'static str {
    match data_type {
        OuraDataType::Vo2Max => "vO2_max",
        other => other.name(),
    }
}
