//! The messages that a child's actor has in hand, and those that its deaths have put back.
//!
//! A message that was in hand at a death is suspect and is tried once more, alone: if the next life dies as well,
//! it is the culprit that is refused, never a neighbour.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Actor;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::child::Child;
use super::envelope::Answer;
use super::life::contain;
use super::mailbox::{Mail, Mailbox};
use super::post_mortem::{Cause, IN_HAND_MAX};

/// A message is refused at its second death.
const DEATHS_MAX: u32 = 2;

struct Held<A: Actor> {
    mail: Mail<A>,
    life: u64,
    /// In the order in which messages were handed over.
    number: u64,
}

/// What is known of a message in hand without looking at it.
struct Note {
    life: u64,
    /// When it was handed over, by the child's clock.
    since: Duration,
    accepted: Instant,
    is_suspect: bool,
}

/// A message that waits for its answer: only those are looked at whose answers have come.
struct Answering<A: Actor> {
    held: Option<Held<A>>,
    child: Arc<Child<A>>,
}

impl<A: Actor> Future for Answering<A> {
    type Output = (Held<A>, Answer);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { held, child } = &mut *self;
        let Some(in_hand) = held else { return Poll::Pending };
        // A panic in here is that of a message's or an answer's `Drop`, after the answer was given.
        let answer = contain(|| in_hand.mail.envelope.poll_answer(child, cx));
        match (answer.unwrap_or(Poll::Ready(Answer::Given)), held.take()) {
            (Poll::Ready(answer), Some(held)) => Poll::Ready((held, answer)),
            (_, in_hand) => {
                *held = in_hand;
                Poll::Pending
            }
        }
    }
}

pub(super) struct Hands<A: Actor> {
    /// Those of an earlier life were answered by a future of their own (`ResponseFuture`), which outlived the actor:
    /// their answers still come.
    held: FuturesUnordered<Answering<A>>,
    /// In the order in which they were handed over, so those of earlier lives first.
    notes: BTreeMap<u64, Note>,
    next_number: u64,
    /// To be tried again, in the order of acceptance.
    retry: Vec<Mail<A>>,
    life: u64,
}

/// What a look at the answers has brought.
pub(super) enum Collected<A: Actor> {
    /// No answer is ready.
    Nothing,
    /// Some answers were given, and no further one is ready.
    Answers,
    /// A message will never be answered although the actor lives.
    Dropped { mail: Mail<A>, is_of_this_life: bool },
}

impl<A: Actor> Hands<A> {
    pub(super) fn new() -> Self {
        Self {
            held: FuturesUnordered::new(),
            notes: BTreeMap::new(),
            next_number: 0,
            retry: Vec::new(),
            life: 0,
        }
    }

    /// From now on messages go to another life.
    pub(super) fn begin_life(&mut self) {
        self.life += 1;
    }

    /// Whether there is a message that may be handed over now.
    pub(super) fn has_next(&self, mailbox: &Mailbox<A>, in_flight: usize) -> bool {
        if !self.retry.is_empty() {
            return !self.is_life_busy();
        }
        // A suspect is handed over only when nothing else of this life is in hand, so it is the first.
        let is_suspect_alone = self.first_of_this_life().is_some_and(|note| note.is_suspect);
        !is_suspect_alone && self.notes.len() < in_flight && !mailbox.is_empty()
    }

    /// The message to hand over now, if there is one.
    pub(super) fn next(&mut self, mailbox: &Mailbox<A>, in_flight: usize) -> Option<Mail<A>> {
        if !self.has_next(mailbox, in_flight) {
            None
        } else if self.retry.is_empty() {
            mailbox.take()
        } else {
            Some(self.retry.remove(0))
        }
    }

    /// Takes note of a message that was handed over.
    pub(super) fn hold(&mut self, child: &Arc<Child<A>>, mail: Mail<A>, since: Duration) {
        let (life, number) = (self.life, self.next_number);
        self.next_number += 1;
        let note = Note { life, since, accepted: mail.accepted, is_suspect: mail.deaths > 0 };
        self.notes.insert(number, note);
        self.put_in_hand(child, Held { mail, life, number });
    }

    /// Since when, by the child's clock, the one is in hand that has been for longest: of this life, or of those before.
    pub(super) fn longest_held(&self, of_this_life: bool) -> Option<Duration> {
        match of_this_life {
            true => self.first_of_this_life().map(|note| note.since),
            false => self.notes.values().next().filter(|note| note.life != self.life).map(|note| note.since),
        }
    }

    /// Takes out the message of an earlier life whose answer has been waited for longest.
    pub(super) fn take_latest_to_come(&mut self, child: &Arc<Child<A>>) -> Option<Mail<A>> {
        let (&number, _) = self.notes.first_key_value().filter(|(_, note)| note.life != self.life)?;
        let mut found = None;
        for held in self.take_all() {
            match held.number == number {
                true => found = Some(held.mail),
                false => self.put_in_hand(child, held),
            }
        }
        self.notes.remove(&number);
        found
    }

    /// The types of the messages in hand.
    pub(super) fn names_in_hand(&self) -> Vec<&'static str> {
        let mut held: Vec<&Held<A>> = self.held.iter().filter_map(|one| one.held.as_ref()).collect();
        held.sort_unstable_by_key(|held| held.number);
        held.into_iter().take(IN_HAND_MAX).map(|held| held.mail.envelope.message_name()).collect()
    }

    /// Takes out what was answered, up to the first that never will be.
    pub(super) fn collect(&mut self, cx: &mut Context<'_>) -> Collected<A> {
        let mut collected = Collected::Nothing;
        while let Poll::Ready(Some((held, answer))) = self.held.poll_next_unpin(cx) {
            self.notes.remove(&held.number);
            if answer == Answer::Dropped {
                return Collected::Dropped { is_of_this_life: held.life == self.life, mail: held.mail };
            }
            collected = Collected::Answers;
        }
        collected
    }

    /// Sorts what the life that has just been dropped had in hand: answered, to be tried again, or refused.
    ///
    /// Says whether a culprit was found and refused.
    pub(super) fn sort_after_death(
        &mut self,
        child: &Arc<Child<A>>,
        cause: Cause,
        reason: &Arc<str>,
    ) -> bool {
        // What was cut short for another's sake or on request, and the neighbours of an answer that was dropped, are not
        // to blame.
        let blame = !matches!(cause, Cause::Cut | Cause::Request | Cause::AnswerDropped);
        let mut is_solved = false;
        for mut held in self.take_all() {
            let answer = contain(|| held.mail.envelope.try_answer(child));
            match answer.unwrap_or(Poll::Ready(Answer::Given)) {
                // Of a life that hung nobody waits for late answers: they are what hangs.
                Poll::Pending if cause != Cause::Hang => {
                    self.put_in_hand(child, held);
                    continue;
                }
                Poll::Ready(Answer::Given) => drop(self.notes.remove(&held.number)),
                Poll::Pending | Poll::Ready(Answer::Dropped) => {
                    self.notes.remove(&held.number);
                    match blame {
                        true => is_solved |= self.count_death(child, held.mail, reason),
                        false => self.put_back(held.mail),
                    }
                }
            }
        }
        is_solved
    }

    /// Counts a death against `mail`, which is tried again or, at its second, refused (`true`).
    pub(super) fn count_death(&mut self, child: &Child<A>, mut mail: Mail<A>, reason: &Arc<str>) -> bool {
        mail.deaths += 1;
        let is_culprit = mail.deaths >= DEATHS_MAX;
        if is_culprit {
            child.count_refused(reason);
            let _ = contain(|| mail.envelope.refuse(reason));
        } else {
            self.put_back(mail);
        }
        is_culprit
    }

    /// Refuses everything; says how many.
    pub(super) fn clear(&mut self) -> usize {
        let messages = self.notes.len() + self.retry.len();
        self.notes.clear();
        for mail in self.take_all().into_iter().map(|held| held.mail).chain(self.retry.drain(..)) {
            let _ = contain(|| drop(mail));
        }
        messages
    }

    /// Whether the actor of this life has a message in hand.
    pub(super) fn is_life_busy(&self) -> bool {
        self.first_of_this_life().is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.retry.is_empty()
    }

    /// When the oldest message was accepted that is in hand or is to be tried again.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let in_hand = self.notes.values().next().map(|note| note.accepted);
        in_hand.into_iter().chain(self.retry.first().map(|mail| mail.accepted)).min()
    }

    /// The message of this life that was handed over first.
    fn first_of_this_life(&self) -> Option<&Note> {
        self.notes.values().find(|note| note.life == self.life)
    }

    /// Takes out everything that is in hand, in the order in which it was handed over.
    fn take_all(&mut self) -> Vec<Held<A>> {
        let all = std::mem::take(&mut self.held);
        let mut all: Vec<Held<A>> = all.into_iter().filter_map(|one| one.held).collect();
        all.sort_unstable_by_key(|held| held.number);
        all
    }

    /// Waits for the answer of what was taken out.
    fn put_in_hand(&mut self, child: &Arc<Child<A>>, held: Held<A>) {
        self.held.push(Answering { held: Some(held), child: Arc::clone(child) });
    }

    fn put_back(&mut self, mail: Mail<A>) {
        let place = self.retry.partition_point(|other| other.number < mail.number);
        self.retry.insert(place, mail);
    }
}
