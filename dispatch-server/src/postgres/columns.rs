//! Columns of values: what `UNNEST` turns into rows again, so that thousands of rows take one statement.

use dispatch_core::{OrderId, Timestamp};
use serde::Serialize;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

/// Most rows of one statement.
pub(super) const MAX_ROWS: usize = 5_000;

/// A statement that values are bound to.
pub(super) type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// Vectors of the same length, one per column, bound in their sequence.
macro_rules! columns {
    ($name:ident { $($column:ident: $type:ty),* $(,)? }) => {
        #[derive(Default)]
        struct $name { $($column: Vec<$type>),* }

        impl $name {
            #[allow(clippy::too_many_arguments, reason = "as many as there are columns")]
            fn push(&mut self, $($column: $type),*) {
                $(self.$column.push($column);)*
            }

            fn bind<'q>(&self, mut query: $crate::postgres::columns::Bound<'q>) -> $crate::postgres::columns::Bound<'q> {
                $(query = query.bind(&self.$column);)*
                query
            }
        }
    };
}
pub(super) use columns;

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("states and events have text keys")
}

/// Ids have no spaces.
pub(super) fn joined(orders: &[OrderId]) -> String {
    orders.iter().map(OrderId::as_str).collect::<Vec<_>>().join(" ")
}

/// A text as PostgreSQL takes it.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The end of the year 9999, beyond which `timestamptz` has a time and programs that read it have trouble.
const LAST: i64 = 253_402_300_799_999;

/// A time as it is bound; absent where it is none: before 1970 or after 9999.
pub(super) fn millis(at: Timestamp) -> Option<i64> {
    Some(at.as_millis()).filter(|ms| (0..=LAST).contains(ms))
}
