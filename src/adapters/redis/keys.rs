//! The keys of a user (contract §3), and our own beside them.

use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;

/// The user's newest event, or the newest of one device.
pub(super) fn latest(user: &UserId, device: Option<DeviceType>) -> String {
    let user = encoded(user.as_str());
    match device {
        None => format!("biometrics:{user}:latest"),
        Some(device) => format!("biometrics:{user}:{}:latest", device.name()),
    }
}

/// The user's series, by time.
pub(super) fn series(user: &UserId) -> String {
    format!("biometrics:{}:timeseries", encoded(user.as_str()))
}

/// Ours: what the script knows of the others.
pub(super) fn known(user: &UserId) -> String {
    format!("bridge:{}:known", encoded(user.as_str()))
}

/// So that no id reaches into the rest of a key.
fn encoded(id: &str) -> String {
    id.replace('%', "%25").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_reaches_into_the_rest_of_a_key() {
        let user = UserId::parse("oura:50%:latest ü").expect("an id");
        assert_eq!(latest(&user, None), "biometrics:oura%3A50%25%3Alatest ü:latest");
        assert_eq!(
            latest(&user, Some(DeviceType::OuraRing)),
            "biometrics:oura%3A50%25%3Alatest ü:oura_ring:latest"
        );
        assert_eq!(series(&user), "biometrics:oura%3A50%25%3Alatest ü:timeseries");
    }
}
