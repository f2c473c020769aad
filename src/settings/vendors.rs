//! Vendors' APIs, and how they are asked.

use std::time::Duration;

use actors::domain::rate_budget::RateLimit;

use super::reader::Reader;

/// How data is fetched from vendors.
#[derive(Debug, Clone)]
pub struct VendorSettings {
    /// `AIOHTTP_CONNECTOR_LIMIT`: requests under way at once, to all vendors together.
    pub requests_max: usize,
    /// `VENDOR_RETRY_BASE_MS`: the first wait after a failure, and the measure of all others (mission §5).
    pub retry_base: Duration,
    /// `VENDOR_RETRY_ATTEMPTS`: tries until a fetch is a dead letter.
    pub retry_attempts: u32,
    /// `OURA_*`.
    pub oura: VendorApiSettings,
    /// `WHOOP_*`.
    pub whoop: VendorApiSettings,
    /// `TERRA_*`: where messages that are too large for a webhook are laid down.
    pub terra: VendorApiSettings,
}

/// Where a vendor's API is, and how much it may be asked.
#[derive(Debug, Clone)]
pub struct VendorApiSettings {
    /// `{VENDOR}_API_BASE`: over http too, the operator's word is enough.
    pub api_base: String,
    /// `{VENDOR}_RATE_LIMIT`: all of them hold, over all bridges.
    pub rate_limits: Vec<RateLimit>,
    /// `{VENDOR}_POLL_SECONDS`: how often what it tells nothing of is asked for; none if 0.
    pub poll_every: Option<Duration>,
}

/// The shortest window, in seconds: the budget counts in hundredths of it.
const WINDOW_MIN_S: f64 = 0.1;
/// The longest.
const WINDOW_MAX_S: f64 = 31.0 * 86_400.0;

pub(super) fn read_vendors(reader: &mut Reader) -> VendorSettings {
    VendorSettings {
        requests_max: reader.number("AIOHTTP_CONNECTOR_LIMIT", 1, 10_000),
        retry_base: Duration::from_millis(reader.number("VENDOR_RETRY_BASE_MS", 1, 60_000)),
        retry_attempts: reader.number("VENDOR_RETRY_ATTEMPTS", 1, 100),
        oura: read_api(reader, ["OURA_API_BASE", "OURA_RATE_LIMIT"], Some("OURA_POLL_SECONDS")),
        whoop: read_api(reader, ["WHOOP_API_BASE", "WHOOP_RATE_LIMIT"], Some("WHOOP_POLL_SECONDS")),
        terra: read_api(reader, ["TERRA_API_BASE", "TERRA_RATE_LIMIT"], None),
    }
}

fn read_api(
    reader: &mut Reader,
    [base, limits]: [&'static str; 2],
    poll: Option<&'static str>,
) -> VendorApiSettings {
    let allowed = "a URL that begins with https:// or http://, without a login, ? and #";
    let api_base = reader.checked(base, allowed, is_base);
    let allowed = "requests/seconds, several separated by commas, as 100/60,10000/86400; seconds from 0.1";
    let rate_limits = parse_limits(&reader.checked(limits, allowed, |text| parse_limits(text).is_some()));
    let seconds: Option<u64> = poll.map(|poll| reader.number(poll, 0, 86_400));
    let poll_every = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    VendorApiSettings { api_base, rate_limits: rate_limits.unwrap_or_default(), poll_every }
}

fn is_base(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        let is_bare = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "https" | "http")
            && is_bare
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn parse_limits(text: &str) -> Option<Vec<RateLimit>> {
    text.split(',').map(parse_limit).collect()
}

fn parse_limit(text: &str) -> Option<RateLimit> {
    let (requests, seconds) = text.trim().split_once('/')?;
    let requests = requests.trim().parse().ok().filter(|requests| *requests > 0)?;
    let seconds = seconds.trim();
    // Without a sign or an exponent.
    let is_decimal = seconds.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = seconds.parse().ok().filter(|_| is_decimal)?;
    let is_window = (WINDOW_MIN_S..=WINDOW_MAX_S).contains(&seconds);
    is_window.then(|| RateLimit { requests, window: Duration::from_secs_f64(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Sources};

    fn read(pairs: &[(&str, &str)]) -> Result<VendorSettings, Vec<String>> {
        let settings = Settings::read(Sources::from_pairs(pairs.iter().copied()));
        settings
            .map(|settings| settings.vendors)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn limit(requests: u32, window_ms: u64) -> RateLimit {
        RateLimit { requests, window: Duration::from_millis(window_ms) }
    }

    #[test]
    fn the_defaults_are_what_the_vendors_document() {
        let vendors = read(&[]).unwrap();
        assert_eq!(vendors.oura.api_base, "https://api.ouraring.com");
        assert_eq!(vendors.whoop.api_base, "https://api.prod.whoop.com/developer");
        assert_eq!(vendors.oura.rate_limits, [limit(5_000, 300_000)]);
        assert_eq!(vendors.whoop.rate_limits, [limit(100, 60_000), limit(10_000, 86_400_000)]);
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!((vendors.oura.poll_every, vendors.whoop.poll_every), (minutes(15), minutes(60)));
        assert_eq!(read(&[("OURA_POLL_SECONDS", "0")]).unwrap().oura.poll_every, None);
        assert_eq!((vendors.requests_max, vendors.retry_attempts), (100, 12));
        assert_eq!(vendors.retry_base, Duration::from_secs(1));
    }

    #[test]
    fn limits_are_requests_in_seconds() {
        for (text, limits) in [
            ("1/0.1", vec![limit(1, 100)]),
            (" 7 / 2.5 , 9/60", vec![limit(7, 2_500), limit(9, 60_000)]),
            ("4294967295/2678400", vec![limit(u32::MAX, 2_678_400_000)]),
        ] {
            assert_eq!(read(&[("OURA_RATE_LIMIT", text)]).unwrap().oura.rate_limits, limits, "{text}");
        }
        let bad =
            ["5", "5/", "/5", "0/5", "-1/5", "5/0.09", "5/-1", "5/1e3", "5/inf", "5/NaN", "5/1,", "5/1,x"];
        for bad in bad.into_iter().chain(["5/2678401", "4294967296/1", "5/1/1", "5/."]) {
            let told = read(&[("WHOOP_RATE_LIMIT", bad)]).unwrap_err();
            assert!(
                told.len() == 1 && told[0].starts_with("WHOOP_RATE_LIMIT: must be requests/"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_base_is_an_address_to_which_a_path_can_be_added() {
        for good in ["http://127.0.0.1:9", "https://api.example.org/developer/"] {
            assert_eq!(read(&[("OURA_API_BASE", good)]).unwrap().oura.api_base, good);
        }
        for bad in [
            "api.example.org",
            "ftp://api.example.org",
            "http://",
            "https://api.example.org?x=1",
            "https://api.example.org/#x",
            "https://someone@api.example.org",
            "https://someone:hush@api.example.org",
        ] {
            let told = read(&[("WHOOP_API_BASE", bad)]).unwrap_err();
            assert!(told.len() == 1 && told[0].starts_with("WHOOP_API_BASE: must be"), "{told:?}");
            assert!(!told[0].contains("hush"), "{told:?}");
        }
    }
}
