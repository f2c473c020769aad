//! Mode decisions: from a user's readings to the cognitive mode that an agent should act in.
//!
//! Everything here is pure. [`fold::fold`] takes a state, an event and the [`thresholds::Thresholds`] in force, and
//! gives the next state and the mode switch, if there is one. There is no clock: ages run from times that the
//! event carries, so the same events in the same order give the same states, bit for bit. A state has no user id
//! in it, and its `Debug` shows no reading.
//!
//! The way of one event: [`fold`] sorts it (live, late, backfilled) and applies its readings to what is
//! remembered (`held`, `samples`, `workouts`); `situation` gathers what a decision may look at; `rows` says which
//! rows hold; `choice` picks one; [`switch`] says why. [`replay`] asks what
//! other thresholds would have done.

mod beats;
mod borderline;
mod choice;
mod column;
mod exact;
pub mod fold;
mod held;
pub mod mode;
mod nearest;
mod pack;
pub mod replay;
mod rows;
mod samples;
mod situation;
pub mod state;
pub mod switch;
pub mod thresholds;
pub mod triggers;
pub mod view;
mod wire;
mod workouts;
