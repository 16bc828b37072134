//! Dropping a request half way.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use block_io::aio::{Sleep, sleep};

use crate::tour::rng::Rng;

/// How long somebody waits for a request.
#[derive(Debug)]
pub enum Patience {
    /// To the end.
    Endless,
    /// For so many polls.
    Polls(u32),
    /// For a while.
    Time(Duration),
}

impl Patience {
    /// Mostly endless.
    pub fn some(rng: &mut Rng) -> Patience {
        match rng.below(24) {
            0 => Patience::Polls(1 + rng.below(3) as u32),
            1 => Patience::Time(Duration::from_micros(rng.below(400))),
            _ => Patience::Endless,
        }
    }
}

/// What `future` comes to; `None` when it was dropped before it was done.
pub async fn wait<T>(patience: Patience, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer: Option<Sleep> = match patience {
        Patience::Time(time) => Some(sleep(time)),
        Patience::Polls(_) | Patience::Endless => None,
    };
    let mut polls = match patience {
        Patience::Polls(polls) => Some(polls),
        Patience::Time(_) | Patience::Endless => None,
    };
    poll_fn(move |cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if let Some(left) = &mut polls {
            *left -= 1;
            if *left == 0 {
                return Poll::Ready(None);
            }
        }
        match &mut timer {
            Some(timer) => pin!(timer).poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
