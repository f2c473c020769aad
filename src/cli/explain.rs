//! `explain`: why a user is in a mode, as the bridge at `BRIDGE_URL` tells it.

use std::process::ExitCode;
use std::time::Duration;

use actors::domain::time::{MS_PER_SECOND, Timestamp};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::bridge::{Bridge, escaped};
use super::{Failure, moment, print_line, read_settings};
use crate::settings::{PAGE_MAX, Sources};

const PATIENCE: Duration = Duration::from_secs(10);
/// A switch shows in the state a moment before it is stored: how often, and after how long, it is looked for again.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// Our id of the user.
    user: String,
    /// The mode in force at that time, as 2026-11-21T06:42:11Z; now without it.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
}

pub(super) fn run(arguments: &ExplainArguments, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let user = escaped(&arguments.user);
    actix_rt::System::new().block_on(async {
        let bridge = Bridge::new(&settings, PATIENCE)?;
        let (state, switch) = read(&bridge, &user, arguments.at).await?;
        let in_force = bridge.get("/health").await?["thresholds"]["thresholds_hash"].take();
        let answer = explain(&state, switch.as_ref(), arguments.at, in_force);
        match json {
            true => print_line(answer)?,
            false => tell(&answer)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The user's state, and the switch that set the mode then; none if there was none by then.
async fn read(bridge: &Bridge, user: &str, at: Option<Timestamp>) -> Result<(Value, Option<Value>), Failure> {
    for _ in 0..LOOKS {
        let state = bridge.get(&format!("/v1/users/{user}/state")).await?;
        if state["mode"].is_null() {
            return Err(Failure::failed("nothing is known of this user: no event of theirs was applied yet"));
        }
        let switch = switch_at(bridge, user, at).await?;
        let is_whole = at.is_some()
            || switch.as_ref().map_or(&Value::Null, |switch| &switch["switch_id"]) == &state["switch_id"];
        if is_whole {
            return Ok((state, switch));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::failed("the user's newest switch is not stored yet: try again"))
}

/// The newest switch that is not after `at`.
async fn switch_at(bridge: &Bridge, user: &str, at: Option<Timestamp>) -> Result<Option<Value>, Failure> {
    let strange = || Failure::failed("what answers there is not a bridge of this version");
    let limit = if at.is_some() { PAGE_MAX } else { 1 };
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/users/{user}/mode-switches?limit={limit}{cursor}");
        let mut page = bridge.get(&path).await?;
        for switch in page["mode_switches"].as_array_mut().ok_or_else(strange)? {
            let time = time(&switch["timestamp"]).ok_or_else(strange)?;
            if at.is_none_or(|at| time <= at) {
                return Ok(Some(switch.take()));
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) if at.is_some() => cursor = format!("&cursor={}", escaped(next)),
            _ => return Ok(None),
        }
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(value.as_str()?)
}

fn explain(state: &Value, switch: Option<&Value>, at: Option<Timestamp>, in_force: Value) -> Value {
    let of = |name: &str| switch.map_or(Value::Null, |switch| switch[name].clone());
    let explained = |name: &str| switch.map_or(Value::Null, |switch| switch["explanation"][name].clone());
    let mut answer = json!({
        "user_id": state["user_id"],
        "at": at.map_or_else(|| state["as_of"].clone(), |at| at.to_string().into()),
        // Everybody begins there, with this confidence, and nothing is published of it.
        "mode": switch.map_or_else(|| "PATTERN".into(), |switch| switch["to_mode"].clone()),
        "confidence": switch.map_or_else(|| 0.5.into(), |switch| switch["confidence"].clone()),
        "since": of("timestamp"),
        "reason": of("reason"),
        "from_mode": of("from_mode"),
        "switch_id": of("switch_id"),
        "event_id": of("event_id"),
        "state_seq": of("state_seq"),
        "inputs": switch.map_or_else(|| json!([]), |switch| switch["explanation"]["inputs"].clone()),
        "nearest": explained("nearest"),
        "thresholds_hash": explained("thresholds_hash"),
        "thresholds_in_force": in_force,
    });
    if at.is_none() {
        for name in ["valid_until", "stale", "cooldown_until"] {
            answer[name] = state[name].clone();
        }
        answer["held"] = held(state);
    }
    answer
}

/// What is held now, with ages and baselines.
fn held(state: &Value) -> Value {
    let as_of = time(&state["as_of"]);
    let inputs = state["inputs"].as_object().cloned().unwrap_or_default();
    let aged = inputs.into_iter().map(|(metric, mut input)| {
        let age_ms = time(&input["timestamp"]).zip(as_of).map(|(at, as_of)| as_of.ms_since(at).max(0));
        input["age_s"] = age_ms.map(|ms| ms / MS_PER_SECOND).into();
        if let Some(value) = state["baselines"][&metric].get("value") {
            input["baseline"] = value.clone();
        }
        (metric, input)
    });
    aged.collect::<Map<String, Value>>().into()
}

fn tell(answer: &Value) -> Result<(), Failure> {
    let text = |name: &str| shown(&answer[name]);
    print_line(format_args!(
        "{} in {} with confidence {}",
        text("user_id"),
        text("mode"),
        text("confidence")
    ))?;
    if answer["switch_id"].is_null() {
        print_line(format_args!("by {} nothing had switched it: everybody begins there", text("at")))?;
    } else {
        print_line(format_args!("since {}, from {}", text("since"), text("from_mode")))?;
        print_line(format_args!("because of {} (event {})", text("reason"), text("event_id")))?;
        print_line(format_args!(
            "by the thresholds {}; in force now: {}",
            text("thresholds_hash"),
            text("thresholds_in_force")
        ))?;
        let inputs = answer["inputs"].as_array().map_or(&[][..], Vec::as_slice);
        match inputs {
            [] => print_line("it rests on no single reading, but on the days before")?,
            inputs => print_line(format_args!(
                "\n{}",
                table("what it rested on", inputs.iter().map(|input| (shown(&input["metric"]), input)))
            ))?,
        }
        if let Some(nearest) = answer["nearest"].as_object() {
            let [input, value, would_be] = ["input", "value", "would_be"].map(|name| shown(&nearest[name]));
            print_line(format_args!(
                "nearest to its limit: {input} at {value}; beyond it the mode would be {would_be}"
            ))?;
        }
    }
    let Some(held) = answer["held"].as_object() else { return Ok(()) };
    if !held.is_empty() {
        print_line(format_args!(
            "\n{}",
            table("held now", held.iter().map(|(metric, input)| (metric.clone(), input)))
        ))?;
    }
    match (answer["valid_until"].as_str(), answer["stale"] == true) {
        (Some(until), true) => {
            print_line(format_args!("stale: a reading that decided went out of date at {until}"))
        }
        (Some(until), false) => print_line(format_args!("good until {until}")),
        (None, _) => Ok(()),
    }
}

fn table<'a>(title: &str, inputs: impl Iterator<Item = (String, &'a Value)>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([title, "value", "baseline", "age", "device", "confidence", "measured"]);
    for (metric, input) in inputs {
        let age = input["age_s"].as_i64().map_or_else(String::new, age);
        let [value, baseline, device, confidence, at] =
            ["value", "baseline", "device_type", "confidence", "timestamp"].map(|name| shown(&input[name]));
        table.add_row([metric, value, baseline, age, device, confidence, at]);
    }
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
