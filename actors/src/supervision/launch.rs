//! How a child gets to its arbiter.

use std::pin::pin;
use std::sync::Arc;

use actix::Actor;
use actix_rt::ArbiterHandle;
use futures_util::future::{BoxFuture, poll_fn};

use super::child::Child;
use super::child_spec::{Factory, Policy};
use super::driver::Driver;
use super::member::Superior;
use super::progress::seated;
use super::tenure::Tenure;

/// What the driver of a child is made of, on its way to the child's arbiter.
pub(super) struct Seed<A: Actor> {
    pub(super) factory: Factory<A>,
    pub(super) policy: Arc<Policy>,
    pub(super) superior: Arc<dyn Superior>,
    pub(super) child: Arc<Child<A>>,
    /// Done when the child may begin.
    pub(super) predecessor: Option<BoxFuture<'static, ()>>,
}

/// Starts the child on `arbiter`. On one that has stopped the child is stopped at once.
pub(super) fn launch<A>(arbiter: &ArbiterHandle, seed: Seed<A>)
where
    A: Actor<Context = actix::Context<A>>,
{
    let tenure = Tenure(Arc::clone(&seed.child));
    // If the arbiter drops the function unrun, the tenure ends the child.
    arbiter.spawn_fn(move || {
        seed.child.tree().threads.add_this();
        let child = Arc::clone(&seed.child);
        let mut driver = Driver::new(seed, tenure);
        actix_rt::spawn(async move {
            // By reference: a future keeps what it takes by value twice.
            let mut run = pin!(driver.run());
            poll_fn(|cx| seated(&child, || run.as_mut().poll(cx))).await;
        });
    });
}
