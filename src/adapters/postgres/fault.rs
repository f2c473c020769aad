//! What an error of PostgreSQL means: to the caller, and to the connection that it came over.

use actors::ports::store::StoreError;

/// Why a piece of work was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It refuses this very data, and would again.
    Refused(String),
    /// Somebody else owns what was to be changed.
    Fenced(String),
    /// It lost against a concurrent transaction; all of it may be tried again at once.
    Contended(String),
    /// The server said no, for now; the connection is sound.
    Declined(String),
    /// The connection, or the server behind it, is of no use any more.
    Broken(String),
}

impl Fault {
    pub(super) fn late() -> Self {
        Self::Broken("the database does not answer in time".to_owned())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => Self::Refused(reason),
            Fault::Fenced(reason) => Self::Fenced(reason),
            Fault::Contended(reason) | Fault::Declined(reason) | Fault::Broken(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => Self::Refused(reason),
            StoreError::Fenced(reason) => Self::Fenced(reason),
            StoreError::Unavailable(reason) => Self::Broken(reason),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                of_code(&code, database.message())
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
                Self::Refused(error.to_string())
            }
            _ => {
                let reason = error.to_string();
                let is_untrusted = reason.contains("invalid peer certificate");
                let advice =
                    if is_untrusted { ": check sslrootcert and the host in POSTGRES_URL" } else { "" };
                Self::Broken(reason + advice)
            }
        }
    }
}

/// The server's messages name tables, columns and roles; what was bound to a statement stands in their details, which
/// are left out, and in those of class 22, of which only the code is told.
fn of_code(code: &str, message: &str) -> Fault {
    let class = code.get(..2).unwrap_or_default();
    match (code, class) {
        ("40001" | "40P01", _) => Fault::Contended(message.to_owned()),
        // Read only: this is, or has become, a replica. The next connection may find the primary.
        ("25006", _) => Fault::Broken(message.to_owned()),
        (_, "22") => Fault::Refused(format!("the database refuses a value (SQLSTATE {code})")),
        // A constraint is broken, or a row is larger than a page or index allows.
        (_, "23" | "54") => Fault::Refused(message.to_owned()),
        // Connections, and servers that stop, start or crash (57P..); a statement that was cancelled (57014) is not.
        (_, "08" | "58" | "XX") => Fault::Broken(message.to_owned()),
        _ if code.starts_with("57P") => Fault::Broken(message.to_owned()),
        _ => Fault::Declined(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_errors_means_one_thing() {
        let told = |code| of_code(code, "m");
        for code in ["22021", "22003", "23514", "54000"] {
            assert!(matches!(told(code), Fault::Refused(_)), "{code}");
        }
        for code in ["57P01", "57P03", "25006", "08006", "XX000"] {
            assert!(matches!(told(code), Fault::Broken(_)), "{code}");
        }
        for code in ["57014", "55P03", "53300", "53100", "42P01", "28P01", ""] {
            assert!(matches!(told(code), Fault::Declined(_)), "{code}");
        }
        assert!(matches!(told("40P01"), Fault::Contended(_)));
    }

    #[test]
    fn a_value_is_never_repeated() {
        let fault = of_code("22P02", "invalid input syntax for type integer: \"somebody@example.org\"");
        assert!(!StoreError::from(fault).to_string().contains("somebody"));
    }
}
