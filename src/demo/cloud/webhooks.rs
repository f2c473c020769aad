//! Sends the agenda to a bridge as the vendors do: signed, with their deadlines and retries (`vendors.md` §1).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use actors::vendors::signing;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use super::agenda::{Agenda, Event, What};
use super::faults::FaultKind;
use super::subscriptions::handshake;
use super::{Shared, Vendor};

/// Deliveries that are under way or wait for their next attempt; with so many nothing new is sent.
const WAITING_MAX: usize = 100_000;
/// How long the cloud waits before it asks a receiver again whether it is Oura's.
const HANDSHAKE_AGAIN: Duration = Duration::from_secs(1);
const SKEW_SECONDS: i64 = -3_600;
/// How long a last attempt waits at least: nobody asks again.
const LAST_DEADLINE: Duration = Duration::from_secs(10);
/// What a bridge says that has too much to do: it was not refused for what it is.
const SERVICE_UNAVAILABLE: u16 = 503;

/// How a vendor waits for an answer, and how long after each attempt it tries again.
struct Patience {
    deadline: Duration,
    retries: &'static [u64],
}

/// Deadlines are those of §1; of the retries it knows number and span, of Terra's their doubling too.
const fn patience(vendor: Vendor) -> Patience {
    let (deadline_s, retries): (u64, &'static [u64]) = match vendor {
        Vendor::Oura => (10, &[10, 20, 40, 80, 160, 320, 480, 640, 840, 1_010]),
        Vendor::Whoop => (1, &[60, 180, 480, 1_080, 1_800]),
        Vendor::Terra => (8, &[30, 60, 120, 240, 480, 960, 1_920, 3_840, 7_680, 15_360]),
        // An app's own choice.
        Vendor::HealthKit => (30, &[5, 10, 20, 40, 80, 160, 320]),
    };
    Patience { deadline: Duration::from_secs(deadline_s), retries }
}

/// One webhook.
#[derive(Clone)]
struct Outgoing {
    event: Event,
    url: String,
    body: Bytes,
    readings: u32,
    trace_id: String,
}

/// Sends until it is told to end: to the target, and to whoever has subscribed at Oura.
pub(super) async fn run(cloud: Arc<Shared>) {
    let target = cloud.config.target.as_deref();
    let receiver = target.filter(|_| cloud.config.vendors.contains(&Vendor::Oura));
    // The first answer is waited for, so that nothing is missed by who is there from the beginning.
    let is_subscribed = match receiver {
        Some(target) => subscribe(&cloud, target).await,
        None => true,
    };
    let subscribing = async {
        while let (false, false, Some(target)) = (is_subscribed, *cloud.ending.borrow(), receiver) {
            tokio::time::sleep(HANDSHAKE_AGAIN).await;
            if subscribe(&cloud, target).await {
                break;
            }
        }
    };
    tokio::join!(subscribing, async {
        send(&cloud, target).await;
        cloud.silent.send_replace(true);
    });
}

/// Ends when nothing more is to be sent.
async fn ended(cloud: &Shared) {
    // The sender lives in `cloud`.
    let _ = cloud.ending.subscribe().wait_for(|ending| *ending).await;
}

async fn send(cloud: &Shared, target: Option<&str>) {
    let slots = Semaphore::new(cloud.config.in_flight);
    let is_told = |vendor: &Vendor| target.is_some() || *vendor == Vendor::Oura;
    let vendors: Vec<Vendor> = cloud.config.vendors.iter().copied().filter(is_told).collect();
    let mut agenda = Agenda::new(&cloud.world, &vendors, cloud.clock.start_ms());
    let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut held: HashMap<Vendor, Outgoing> = HashMap::new();
    loop {
        // Asked for first: what is put forward from here on is not missed.
        let moved = cloud.clock.moved();
        let next = async {
            match agenda.next_ms().and_then(|at_ms| cloud.clock.wait_for(at_ms)) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended(cloud) => break,
            Some(()) = under_way.next(), if !under_way.is_empty() => continue,
            () = moved => continue,
            () = next, if under_way.len() < WAITING_MAX => {}
        }
        let Some(outgoing) = agenda.next().and_then(|event| prepare(cloud, target, event)) else {
            continue;
        };
        let vendor = outgoing.event.vendor();
        let befallen = |kind: FaultKind| {
            let fault = cloud.faults.of_webhook(vendor, kind);
            fault.inspect(|fault| cloud.stats.count(&["faults", fault.kind.name()]))
        };
        if !held.contains_key(&vendor) && befallen(FaultKind::OutOfOrder).is_some() {
            held.insert(vendor, outgoing);
            continue;
        }
        let again = befallen(FaultKind::Duplicate).map(|_| outgoing.clone());
        let later = held.remove(&vendor);
        let slots = &slots;
        under_way.push(Box::pin(async move {
            for outgoing in [Some(outgoing), again, later].into_iter().flatten() {
                deliver(cloud, slots, outgoing).await;
            }
        }));
    }
    while under_way.next().await.is_some() {}
}

/// Asks the target whether it is Oura's receiver, and if so subscribes it to everything.
async fn subscribe(cloud: &Shared, target: &str) -> bool {
    let callback_url = format!("{target}/webhook/oura");
    let is_ours = handshake(&cloud.client, &callback_url, &cloud.config.keys.oura_verification_token).await;
    cloud.stats.count(&["webhooks", "oura", if is_ours { "handshakes" } else { "refused_handshakes" }]);
    if is_ours {
        cloud.subscriptions.all(&callback_url);
    }
    is_ours
}

/// `None` for what nobody wants to know: without a subscription, or of an account that was taken back.
fn prepare(cloud: &Shared, target: Option<&str>, event: Event) -> Option<Outgoing> {
    let resident = cloud.world.get(event.person)?;
    let vendor = event.vendor();
    let url = match event.what {
        What::Oura { event_type, kind, .. } => cloud.subscriptions.callback(kind.data_type(), event_type)?,
        What::Ring { .. } | What::Whoop { .. } | What::HealthKit { .. } | What::Terra { .. } => {
            format!("{}/webhook/{}", target?, vendor.name())
        }
    };
    if cloud.tokens.is_revoked(vendor, event.person) {
        return None;
    }
    let (body, readings) = event.body(resident);
    // A phone that has nothing to tell tells nothing.
    let is_empty = vendor == Vendor::HealthKit && readings == 0;
    let trace_id = event.trace_id(resident);
    (!is_empty).then(|| Outgoing { event, url, body: body.into(), readings, trace_id })
}

/// Sends until it is taken or the vendor gives up. When nothing more is to be sent, what was tried already is tried a last
/// time at once.
async fn deliver(cloud: &Shared, slots: &Semaphore, outgoing: Outgoing) {
    let vendor = outgoing.event.vendor();
    let count = |what: &str| cloud.stats.count(&["webhooks", vendor.name(), what]);
    let patience = patience(vendor);
    count("deliveries");
    let mut waits = patience.retries.iter();
    let mut is_first = true;
    loop {
        // It is never closed.
        let slot = slots.acquire().await;
        let is_last = *cloud.ending.borrow();
        if is_last && is_first {
            return;
        }
        count("attempts");
        {
            let mut summary = cloud.summary.lock();
            // It is until there is an answer.
            summary.unanswered += u64::from(is_first);
            summary.retries += u64::from(!is_first);
        }
        is_first = false;
        let deadline = if is_last { patience.deadline.max(LAST_DEADLINE) } else { patience.deadline };
        let status = attempt(cloud, &outgoing, deadline).await;
        drop(slot);
        match status {
            Some(200..300) => return count("accepted"),
            // Oura takes it as "never again", for all users (`vendors.md` §2).
            Some(410) if vendor == Vendor::Oura => {
                cloud.subscriptions.cancel();
                return count("cancelled");
            }
            Some(status) => {
                cloud.stats.count(&["webhooks", vendor.name(), "refused", &status.to_string()]);
                if status != SERVICE_UNAVAILABLE {
                    *cloud.summary.lock().refused.entry(status).or_default() += 1;
                }
            }
            None => count("unanswered"),
        }
        if is_last {
            return;
        }
        let Some(seconds) = waits.next() else { return count("given_up") };
        tokio::select! {
            () = ended(cloud) => {}
            () = tokio::time::sleep(cloud.clock.scaled(Duration::from_secs(*seconds))) => {}
        }
    }
}

/// The answer's status, `None` if there is none in time.
async fn attempt(cloud: &Shared, outgoing: &Outgoing, deadline: Duration) -> Option<u16> {
    let began = Instant::now();
    let answered = async {
        let response = request(cloud, outgoing).send().await.ok()?;
        Some((response.status().as_u16(), response.bytes().await.ok()?))
    };
    let (status, answer) = tokio::time::timeout(deadline, answered).await.ok().flatten()?;
    if (200..300).contains(&status) {
        let mut summary = cloud.summary.lock();
        summary.unanswered -= 1;
        summary.count(outgoing.event.person, outgoing.readings, status, &answer, began.elapsed());
    }
    Some(status)
}

/// Every attempt is signed anew: whether vendors do that is not documented, but who looks at the signed time refuses
/// the old one.
fn request(cloud: &Shared, outgoing: &Outgoing) -> reqwest::RequestBuilder {
    let Outgoing { event, url, body, trace_id, .. } = outgoing;
    let (vendor, keys) = (event.vendor(), &cloud.config.keys);
    let skew = cloud.faults.of_webhook(vendor, FaultKind::ClockSkew).map_or(0, |fault| {
        cloud.stats.count(&["faults", fault.kind.name()]);
        fault.skew_seconds.unwrap_or(SKEW_SECONDS)
    });
    let now_ms = SystemClock.now().as_ms() + skew * 1_000;
    let now_s = now_ms.div_euclid(1_000);
    let request = cloud.client.post(url).header("content-type", "application/json");
    let signed = match vendor {
        Vendor::Oura if matches!(event.what, What::Ring { .. }) => {
            request.header("signature", signing::inline(&keys.oura, body))
        }
        Vendor::Oura => request
            .header("x-oura-timestamp", now_s.to_string())
            .header("x-oura-signature", signing::oura(&keys.oura, now_s, body)),
        Vendor::Whoop => request
            .header("x-whoop-signature-timestamp", now_ms.to_string())
            .header("x-whoop-signature", signing::whoop(&keys.whoop, now_ms, body)),
        Vendor::HealthKit => request.header("authorization", format!("Bearer {}", keys.healthkit)),
        Vendor::Terra => request
            .header("terra-signature", signing::terra(&keys.terra, now_s, body))
            .header("x-terra-trace-id", trace_id)
            .header("x-terra-ordering-timestamp", event.at_ms.to_string()),
    };
    signed.body(body.clone())
}
