//! The feed: every event of the log once it is durable, for whoever follows an order, a driver, a place or a market, and goes on
//! where it left off. Positions and arrival times travel beside it, the newest of each.
//!
//! Nobody is sent anything: a subscription is woken and takes what is new for it from the one ring that all share. So a
//! slow reader costs a number, and is given up once too much waits for it; nobody else notices.

mod cursor;
mod hub;
mod live;
mod press;
mod subscription;

pub(crate) use cursor::Cursor;
pub(crate) use hub::{Entry, Hub, Rider, TooManyStreams, Topic};
pub(crate) use press::Press;
pub(crate) use subscription::{News, Subscription};
