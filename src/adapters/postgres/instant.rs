//! Our milliseconds as PostgreSQL's `timestamptz`, exactly.

use actors::domain::time::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, Postgres};

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;
/// Microseconds of a millisecond.
const MICROS: i64 = 1_000;
/// `timestamptz`, and the array of it.
const OIDS: [Oid; 2] = [Oid(1184), Oid(1185)];

/// A point in time as an argument of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PgInstant(pub(super) Timestamp);

impl sqlx::Type<Postgres> for PgInstant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(OIDS[0])
    }
}

impl PgHasArrayType for PgInstant {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(OIDS[1])
    }
}

impl sqlx::Encode<'_, Postgres> for PgInstant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_ms().saturating_sub(EPOCH_MS).saturating_mul(MICROS);
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}
