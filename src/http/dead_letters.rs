//! `/admin/dlq`: what was set aside for good, and its way back. There are two kinds of it, in one list: messages of the
//! log that could not be delivered or applied, and fetches from vendors' APIs that were given up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::domain::account::{Account, Vendor};
use actors::domain::fetch::Whose;
use actors::domain::ids::UserId;
use actors::ports::dead_letters::{KeptLetter, Letters};
use actors::ports::fetch_queue::DeadFetch;
use actors::ports::store::StoreError;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::auth::check_admin;
use super::body;
use super::problem::{ErrorType, Problem, request_id};
use super::query;
use super::read_api::{PageParameters, limit, store_down};
use super::state::Doors;
use super::webhooks::enter;
use crate::settings::{PAGE_MAX, REDRIVE_BODY_MAX_BYTES, REDRIVE_CHUNK, REDRIVE_RATE_MAX};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Ids of fetches begin with it; those of messages have a colon in them.
const FETCH_PREFIX: &str = "fetch-";

/// `GET /admin/dlq`
pub(super) async fn list(request: HttpRequest, doors: web::Data<Doors>) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let parameters: PageParameters = query(&request)?;
    let limit = limit(&request, parameters.limit.as_deref())?;
    let cursor = parameters.cursor.as_deref().map(|cursor| {
        let detail = "cursor must be a next_cursor of this route";
        Cursor::read(cursor).ok_or_else(|| Problem::new(&request, ErrorType::ValidationError, detail))
    });
    let cursor = cursor.transpose()?.unwrap_or_default();
    let page = page(&doors, cursor, limit).await.map_err(|error| store_down(&request, &error))?;
    Ok(HttpResponse::Ok().json(page))
}

/// Where a page ends: the last of each kind that was shown, if any was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cursor {
    letter: Option<i64>,
    fetch: Option<i64>,
}

impl Cursor {
    fn write(self) -> String {
        let text = |place: Option<i64>| place.map_or_else(String::new, |place| place.to_string());
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}|{}", text(self.letter), text(self.fetch)))
    }

    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (letter, fetch) = text.split_once('|')?;
        let place = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self { letter: place(letter)?, fetch: place(fetch)? })
    }
}

/// Both kinds by the time of their failure, newest first; in each kind the order is that of its places, so that no page
/// shows one twice or leaves one out.
async fn page(doors: &Doors, mut cursor: Cursor, limit: usize) -> Result<Value, StoreError> {
    let letters = doors.dead_letters.dead_letters(cursor.letter, limit + 1).await?;
    let fetches = doors.fetch_queue.dead_fetches(cursor.fetch, limit + 1).await?;
    let (mut letters, mut fetches) = (letters.into_iter().peekable(), fetches.into_iter().peekable());
    let mut items = Vec::new();
    while items.len() < limit {
        let failed_at = (letters.peek().map(|it| it.failed_at), fetches.peek().map(|it| it.failed_at));
        if failed_at.0 >= failed_at.1
            && let Some(letter) = letters.next()
        {
            cursor.letter = Some(letter.place);
            items.push(letter_item(doors, &letter));
        } else if let Some(fetch) = fetches.next() {
            cursor.fetch = Some(fetch.id);
            items.push(fetch_item(doors, &fetch).await?);
        } else {
            break;
        }
    }
    let has_next = letters.peek().is_some() || fetches.peek().is_some();
    Ok(json!({"items": items, "next_cursor": has_next.then(|| cursor.write())}))
}

fn letter_item(doors: &Doors, letter: &KeptLetter) -> Value {
    // A message that was set aside because it cannot be read may have any key.
    let user = UserId::parse(&letter.key).ok();
    json!({
        "id": letter.id,
        "topic": letter.original_topic,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "failed_at": letter.failed_at,
        "retry_count": letter.retry_count,
        "user": mask(doors, user.as_ref()),
    })
}

async fn fetch_item(doors: &Doors, fetch: &DeadFetch) -> Result<Value, StoreError> {
    let vendor = fetch.vendor;
    let user = match &fetch.whose {
        Some(whose) => user_of(doors, vendor, whose).await?,
        None => None,
    };
    Ok(json!({
        "id": format!("{FETCH_PREFIX}{}", fetch.id),
        "topic": format!("fetch/{}", vendor.name()),
        "error_type": fetch.error_type,
        "error_message": fetch.error_message,
        "failed_at": fetch.failed_at,
        "retry_count": fetch.attempts,
        "user": mask(doors, user.as_ref()),
    }))
}

/// As events name the user: by the account's link, else by the vendor's id.
async fn user_of(doors: &Doors, vendor: Vendor, whose: &Whose) -> Result<Option<UserId>, StoreError> {
    match whose {
        Whose::User(user) => Ok(Some(user.clone())),
        Whose::Vendor(id) => {
            let link = doors.accounts.link(&Account { vendor, id: id.clone() }).await?;
            let unlinked = || UserId::parse(&format!("{}:{}", vendor.name(), id.as_str())).ok();
            Ok(link.map(|link| link.user_id).or_else(unlinked))
        }
    }
}

fn mask(doors: &Doors, user: Option<&UserId>) -> String {
    user.map_or_else(|| "unknown".to_owned(), |user| doors.masker.mask(user).to_string())
}

/// `{"ids": […]}`, or `{"all": true, "rate": 10}`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RedriveBody {
    ids: Option<Vec<String>>,
    all: bool,
    rate: Option<u32>,
}

/// What became of what was to be redriven.
#[derive(Debug, Default)]
struct Redriven {
    letters: usize,
    fetches: usize,
}

impl Redriven {
    fn count(&self) -> usize {
        self.letters + self.fetches
    }
}

/// `POST /admin/dlq/redrive`
pub(super) async fn redrive(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let _inside = enter(&request, &doors)?;
    let mut memory = doors.admission.body_memory();
    let body = body::read(&request, payload, REDRIVE_BODY_MAX_BYTES, &mut memory, &doors).await?;
    let body: Option<RedriveBody> = serde_json::from_slice(&body).ok();
    let (redriven, asked) = match body {
        Some(RedriveBody { ids: Some(ids), all: false, rate: None }) if ids.len() <= PAGE_MAX => {
            let ids: BTreeSet<String> = ids.into_iter().collect();
            (redrive_these(&request, &doors, &ids).await?, ids.len())
        }
        Some(RedriveBody { ids: None, all: true, rate })
            if rate.is_none_or(|rate| (1..=REDRIVE_RATE_MAX).contains(&rate)) =>
        {
            redrive_all(&request, &doors, Pace::new(rate)).await?
        }
        _ => {
            let detail = format!(
                "send {{\"ids\": […]}} with at most {PAGE_MAX} ids, or {{\"all\": true}}, and with it \"rate\" if you \
                 like: how many a second, a whole number from 1 to {REDRIVE_RATE_MAX}"
            );
            return Err(Problem::new(&request, ErrorType::ValidationError, detail));
        }
    };
    let failed = asked.saturating_sub(redriven.count());
    Ok(HttpResponse::Ok().json(json!({"redriven": redriven.count(), "failed": failed})))
}

async fn redrive_these(
    request: &HttpRequest,
    doors: &Doors,
    ids: &BTreeSet<String>,
) -> Result<Redriven, Problem> {
    let fetches: Vec<i64> = ids.iter().filter_map(|id| id.strip_prefix(FETCH_PREFIX)?.parse().ok()).collect();
    let letters = ids.iter().filter(|id| !id.starts_with(FETCH_PREFIX)).map(|id| Arc::from(id.as_str()));
    let letters = Letters::Of(letters.collect());
    let letters = redrive_letters(request, doors, &letters).await;
    let letters = letters.map_err(|error| store_down(request, &error))?;
    let fetches = redrive_fetches(request, doors, &fetches).await;
    let fetches = fetches.map_err(|error| store_down(request, &error))?;
    Ok(Redriven { letters, fetches })
}

async fn redrive_letters(
    request: &HttpRequest,
    doors: &Doors,
    letters: &Letters,
) -> Result<usize, StoreError> {
    let redriven = doors.dead_letters.redrive_letters(letters).await?;
    if redriven > 0 {
        doors.tree.outlet.committed(redriven);
        doors.teller.dead_letters_redriven(&request_id(request), "messages", redriven);
    }
    Ok(redriven)
}

async fn redrive_fetches(request: &HttpRequest, doors: &Doors, ids: &[i64]) -> Result<usize, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let redriven = doors.fetch_queue.redrive_fetches(ids).await?;
    for vendor in BTreeSet::from_iter(&redriven) {
        doors.tree.wake_fetcher(*vendor);
    }
    if !redriven.is_empty() {
        doors.teller.dead_letters_redriven(&request_id(request), "fetches", redriven.len());
    }
    Ok(redriven.len())
}

/// Everything that is there now, oldest messages first; how much of it was redriven, and how much there was. An outage
/// or the bridge's end in the middle leaves the rest where it is.
async fn redrive_all(
    request: &HttpRequest,
    doors: &Doors,
    mut pace: Pace,
) -> Result<(Redriven, usize), Problem> {
    let down = |error: StoreError| store_down(request, &error);
    let newest_letter = doors.dead_letters.dead_letters(None, 1).await.map_err(down)?;
    let newest_fetch = doors.fetch_queue.dead_fetches(None, 1).await.map_err(down)?;
    let asked = doors.dead_letters_len().await.map_err(down)? as usize;
    let mut redriven = Redriven::default();
    if let Some(newest) = newest_letter.first() {
        let oldest = Letters::Oldest { until: newest.place, limit: pace.chunk };
        while pace.go_on(doors).await {
            match redrive_letters(request, doors, &oldest).await {
                Ok(0) => break,
                Ok(letters) => redriven.letters += letters,
                Err(error) if redriven.count() == 0 => return Err(down(error)),
                Err(_) => return Ok((redriven, asked)),
            }
        }
    }
    let mut before = newest_fetch.first().map(|newest| newest.id.saturating_add(1));
    while before.is_some() && pace.go_on(doors).await {
        match redrive_fetches_before(request, doors, before, pace.chunk).await {
            Ok((fetches, next)) => {
                redriven.fetches += fetches;
                before = next;
            }
            Err(error) if redriven.count() == 0 => return Err(down(error)),
            Err(_) => break,
        }
    }
    Ok((redriven, asked))
}

/// How many were redriven, and before which the next ones are.
async fn redrive_fetches_before(
    request: &HttpRequest,
    doors: &Doors,
    before: Option<i64>,
    limit: usize,
) -> Result<(usize, Option<i64>), StoreError> {
    let fetches = doors.fetch_queue.dead_fetches(before, limit).await?;
    let ids: Vec<i64> = fetches.iter().map(|fetch| fetch.id).collect();
    Ok((redrive_fetches(request, doors, &ids).await?, ids.last().copied()))
}

/// How fast things are redriven.
#[derive(Debug)]
struct Pace {
    /// So many at once …
    chunk: usize,
    /// … and then so long nothing.
    pause: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// At most `rate` in each second, in about ten chunks.
    fn new(rate: Option<u32>) -> Self {
        let Some(rate) = rate else {
            return Self { chunk: REDRIVE_CHUNK, pause: None, next: Instant::now() };
        };
        let chunk = (rate as usize / 10).clamp(1, REDRIVE_CHUNK);
        // As many whole chunks as fit, and pauses rounded up: one chunk more in a second would be too much.
        let chunks = u64::from(rate) / chunk as u64;
        let pause = Duration::from_nanos(NANOS_PER_SECOND.div_ceil(chunks.max(1)));
        Self { chunk, pause: Some(pause), next: Instant::now() }
    }

    /// Waits for the next chunk's turn. Whether it comes: not once the bridge is stopping.
    async fn go_on(&mut self, doors: &Doors) -> bool {
        if let Some(pause) = self.pause {
            tokio::select! {
                biased;
                () = doors.entrance.closed() => {}
                () = tokio::time::sleep_until(self.next) => {}
            }
            self.next = Instant::now() + pause;
        }
        !doors.entrance.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for cursor in [
            Cursor::default(),
            Cursor { letter: Some(7), fetch: None },
            Cursor { letter: Some(i64::MAX), fetch: Some(-1) },
        ] {
            assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        }
        for text in ["", "x", "MXwy!", "MTI"] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_pace_never_gives_more_than_its_rate_in_a_second() {
        for rate in [1, 2, 9, 10, 11, 19, 25, 99, 1_234, 9_999, REDRIVE_RATE_MAX] {
            let Pace { chunk, pause: Some(pause), .. } = Pace::new(Some(rate)) else { panic!("no pause") };
            // Chunks that begin within one second, the first at its beginning.
            let chunks = Duration::from_secs(1).as_nanos().div_ceil(pause.as_nanos());
            let most = chunk as u128 * chunks;
            assert!(most <= u128::from(rate) && most >= u128::from(rate) / 2, "{rate}: {most}");
        }
    }
}
