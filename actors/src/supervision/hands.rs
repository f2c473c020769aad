//! The messages that a child's actor has in hand, and those that its deaths have put back.
//!
//! A message that was in hand at a death is suspect and is tried once more, alone: if the next life dies as well,
//! it is the culprit that is refused, never a neighbour.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Actor;
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
    /// When it was handed over, by the child's clock.
    since: Duration,
}

pub(super) struct Hands<A: Actor> {
    /// In the order in which they were handed over. Those of an earlier life were answered by a future of their own
    /// (`ResponseFuture`), which outlived the actor: their answers still come.
    held: Vec<Held<A>>,
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
        Self { held: Vec::new(), retry: Vec::new(), life: 0 }
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
        let is_suspect_alone = self.of_this_life().any(|mail| mail.deaths > 0);
        !is_suspect_alone && self.held.len() < in_flight && !mailbox.is_empty()
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
    pub(super) fn hold(&mut self, mail: Mail<A>, since: Duration) {
        self.held.push(Held { mail, life: self.life, since });
    }

    /// Since when, by the child's clock, the one is in hand that has been for longest: of this life, or of those before.
    pub(super) fn longest_held(&self, of_this_life: bool) -> Option<Duration> {
        let held = self.held.iter().filter(|held| (held.life == self.life) == of_this_life);
        held.map(|held| held.since).min()
    }

    /// Takes out the message of an earlier life whose answer has been waited for longest.
    pub(super) fn take_latest_to_come(&mut self) -> Option<Mail<A>> {
        let since = self.longest_held(false)?;
        let place = self.held.iter().position(|held| held.life != self.life && held.since == since)?;
        Some(self.held.remove(place).mail)
    }

    /// The types of the messages in hand.
    pub(super) fn names_in_hand(&self) -> Vec<&'static str> {
        self.held.iter().take(IN_HAND_MAX).map(|held| held.mail.envelope.message_name()).collect()
    }

    /// Takes out what was answered, up to the first that never will be.
    pub(super) fn collect(&mut self, child: &Child<A>, cx: &mut Context<'_>) -> Collected<A> {
        let (mut collected, mut next) = (Collected::Nothing, 0);
        while let Some(held) = self.held.get_mut(next) {
            // A panic in here is that of a message's or an answer's `Drop`, after the answer was given.
            let answer = contain(|| held.mail.envelope.poll_answer(child, cx));
            match answer.unwrap_or(Poll::Ready(Answer::Given)) {
                Poll::Pending => next += 1,
                Poll::Ready(Answer::Given) => {
                    self.held.remove(next);
                    collected = Collected::Answers;
                }
                Poll::Ready(Answer::Dropped) => {
                    let Held { mail, life, .. } = self.held.remove(next);
                    return Collected::Dropped { mail, is_of_this_life: life == self.life };
                }
            }
        }
        collected
    }

    /// Sorts what the life that has just been dropped had in hand: answered, to be tried again, or refused.
    ///
    /// Says whether a culprit was found and refused.
    pub(super) fn sort_after_death(&mut self, child: &Child<A>, cause: Cause, reason: &Arc<str>) -> bool {
        // What was cut short for another's sake or on request, and the neighbours of an answer that was dropped, are not
        // to blame.
        let blame = !matches!(cause, Cause::Cut | Cause::Request | Cause::AnswerDropped);
        let mut is_solved = false;
        for mut held in std::mem::take(&mut self.held) {
            let answer = contain(|| held.mail.envelope.try_answer(child));
            match answer.unwrap_or(Poll::Ready(Answer::Given)) {
                // Of a life that hung nobody waits for late answers: they are what hangs.
                Poll::Pending if cause != Cause::Hang => self.held.push(held),
                Poll::Ready(Answer::Given) => {}
                Poll::Pending | Poll::Ready(Answer::Dropped) if blame => {
                    is_solved |= self.count_death(child, held.mail, reason);
                }
                Poll::Pending | Poll::Ready(Answer::Dropped) => self.put_back(held.mail),
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
        let messages = self.held.len() + self.retry.len();
        for mail in self.held.drain(..).map(|held| held.mail).chain(self.retry.drain(..)) {
            let _ = contain(|| drop(mail));
        }
        messages
    }

    /// Whether the actor of this life has a message in hand.
    pub(super) fn is_life_busy(&self) -> bool {
        self.of_this_life().next().is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.retry.is_empty()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.held
            .iter()
            .map(|held| held.mail.accepted)
            .chain(self.retry.first().map(|mail| mail.accepted))
            .min()
    }

    fn of_this_life(&self) -> impl Iterator<Item = &Mail<A>> {
        self.held.iter().filter(|held| held.life == self.life).map(|held| &held.mail)
    }

    fn put_back(&mut self, mail: Mail<A>) {
        let place = self.retry.partition_point(|other| other.number < mail.number);
        self.retry.insert(place, mail);
    }
}
