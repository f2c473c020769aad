//! What Redis answers, and what its refusals are called. Its own words are never repeated: they may hold keys.

use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;
use actors::ports::cache::CacheError;
use deadpool_redis::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A call that came to nothing on its way.
pub(super) fn failure(error: &RedisError) -> CacheError {
    if error.is_timeout() {
        return CacheError::Late;
    }
    let reason = match error.kind() {
        ErrorKind::Io => "it cannot be reached",
        ErrorKind::AuthenticationFailed => "it refuses the user or the password",
        ErrorKind::Server(_) => word(error.code().unwrap_or_default()),
        _ => return unreadable(),
    };
    CacheError::Unavailable(reason.to_owned())
}

/// No connection came.
pub(super) fn pool_failure(error: &PoolError) -> CacheError {
    match error {
        PoolError::Backend(error) => failure(error),
        _ => CacheError::Unavailable("no connection is free".to_owned()),
    }
}

/// What answers there is not Redis, or not well.
pub(super) fn unreadable() -> CacheError {
    CacheError::Unavailable("its answers cannot be read".to_owned())
}

/// What an error's code means.
fn word(code: &str) -> &'static str {
    match code {
        "OOM" => "its memory is full",
        "READONLY" => "it is a replica and takes no writes",
        "MISCONF" => "it cannot write to its disk",
        "LOADING" => "it is still loading",
        "BUSY" => "it is busy with a script",
        "NOAUTH" | "WRONGPASS" => "it refuses the user or the password",
        "NOPERM" => "its user may not do this",
        "MASTERDOWN" | "NOREPLICAS" => "it has lost its primary or its replicas",
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => "it is a cluster, which is not supported",
        _ => "it answers with an error",
    }
}

fn refusal(error: &ServerError) -> CacheError {
    CacheError::Unavailable(word(error.code()).to_owned())
}

/// Of each answer, whether the server had forgotten the script.
///
/// # Errors
/// The first refusal of another kind.
pub(super) fn forgotten(answers: &[Value]) -> Result<Vec<bool>, CacheError> {
    let is_forgotten = |answer: &Value| match answer {
        Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => Ok(true),
        Value::ServerError(error) => Err(refusal(error)),
        _ => Ok(false),
    };
    answers.iter().map(is_forgotten).collect()
}

/// Whether it is refused because the key is of another type: somebody else's, and as good as absent.
fn is_of_another_type(error: &ServerError) -> bool {
    error.code() == "WRONGTYPE"
}

/// What an event must have to be the one that was asked for.
#[derive(Deserialize)]
struct Latest {
    #[serde(rename = "event_id")]
    _event_id: String,
    user_id: String,
    device_type: String,
    #[serde(rename = "timestamp")]
    _timestamp: String,
    #[serde(rename = "readings")]
    _readings: Vec<serde::de::IgnoredAny>,
}

/// The newest event, if what is there is one.
pub(super) fn latest(
    answer: Value,
    user: &UserId,
    device: Option<DeviceType>,
) -> Result<Option<Box<RawValue>>, CacheError> {
    let bytes = match answer {
        Value::BulkString(bytes) => bytes,
        Value::Nil => return Ok(None),
        Value::ServerError(error) if is_of_another_type(&error) => return Ok(None),
        Value::ServerError(error) => return Err(refusal(&error)),
        _ => return Err(unreadable()),
    };
    let is_right = |held: Latest| {
        held.user_id == user.as_str() && device.is_none_or(|device| device.name() == held.device_type)
    };
    let is_right = serde_json::from_slice(&bytes).is_ok_and(is_right);
    Ok(is_right.then(|| raw(bytes)).flatten())
}

/// What a member of a series must have.
#[derive(Deserialize)]
struct Member {
    #[serde(rename = "event_id")]
    _event_id: String,
    #[serde(rename = "timestamp")]
    _timestamp: String,
    #[serde(rename = "device_type")]
    _device_type: String,
    #[serde(rename = "readings")]
    _readings: Vec<serde::de::IgnoredAny>,
}

/// Those members of a series that are ours.
pub(super) fn series(answer: Value) -> Result<Vec<Box<RawValue>>, CacheError> {
    let members = match answer {
        Value::Array(members) => members,
        Value::ServerError(error) if is_of_another_type(&error) => return Ok(Vec::new()),
        Value::ServerError(error) => return Err(refusal(&error)),
        _ => return Err(unreadable()),
    };
    let member = |member| match member {
        Value::BulkString(bytes) => serde_json::from_slice::<Member>(&bytes).ok().and_then(|_| raw(bytes)),
        _ => None,
    };
    Ok(members.into_iter().filter_map(member).collect())
}

fn raw(bytes: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(bytes).ok()?).ok()
}
