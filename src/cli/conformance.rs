//! `simulate --conformance`: golden deliveries against any deployment, and a table of what came of them.

use std::process::ExitCode;

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use comfy_table::{Table, presets};
use reqwest::Url;
use serde_json::json;

use super::{Failure, print_line};
use crate::settings::Settings;
use crate::traffic::Secrets;
use crate::traffic::conformance::{Check, Golden, Verdict, check};

const HEADER: [&str; 4] = ["device", "case", "result", "why"];

/// Runs them. Exit 1 if one failed, or none could be run.
pub(super) fn run(
    url: &str,
    settings: &Settings,
    secrets: Secrets,
    devices: &[&str],
    seed: u64,
    json: bool,
) -> Result<ExitCode, Failure> {
    let parsed = Url::parse(url).ok().filter(|parsed| parsed.scheme() == "http" && parsed.has_host());
    let base_url = parsed.ok_or_else(|| Failure {
        messages: vec![format!("{url} is no URL as http://127.0.0.1:8889 (this build speaks no TLS)")],
        code: 2,
    })?;
    let oura_token = settings.oura.verification_token.as_ref().map(|token| token.expose().to_owned());
    let whoop_secret = settings.whoop.webhook_secret.as_ref().map(|secret| secret.expose().to_owned());
    let terra_secret = settings.terra.webhook_secret.as_ref().map(|secret| secret.expose().to_owned());
    let now_ms = SystemClock.now().as_ms();
    let golden = Golden { secrets, oura_token, whoop_secret, terra_secret, seed, now_ms };
    let checks = actix_rt::System::new().block_on(check(&base_url, &golden, devices));
    let checks =
        checks.map_err(|error| Failure::failed(format!("the HTTP client could not be built: {error}")))?;
    let count = |is: fn(&Verdict) -> bool| checks.iter().filter(|check| is(&check.verdict)).count();
    let passed = count(|verdict| *verdict == Verdict::Passed);
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = checks.len() - passed - failed;
    if json {
        let checks: Vec<_> = checks.iter().map(told).collect();
        print_line(json!({
            "target": url, "seed": seed, "passed": passed, "failed": failed, "skipped": skipped, "checks": checks,
        }))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(HEADER);
        table.add_rows(checks.iter().map(row));
        print_line(table)?;
        print_line(format_args!(
            "\n{url}, seed {seed}: {passed} passed, {failed} failed, {skipped} skipped"
        ))?;
    }
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0)))
}

/// One word, and what there is to say to it.
fn words(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Passed => ("pass", String::new()),
        Verdict::Failed(why) => ("fail", why.clone()),
        Verdict::Skipped(setting) => ("skipped", format!("{setting} is not set")),
    }
}

fn row(check: &Check) -> [String; 4] {
    let (result, why) = words(&check.verdict);
    [check.device.to_owned(), check.name.to_owned(), result.to_owned(), why]
}

fn told(check: &Check) -> serde_json::Value {
    let (result, why) = words(&check.verdict);
    json!({"device": check.device, "case": check.name, "result": result, "why": why})
}
