//! Terra's signature (`vendors.md` §5): the bridge has no door for it that could make one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `terra-signature`: `t=`Unix seconds`,v1=`lower-case hex of HMAC-SHA256(signing secret, seconds ‖ "." ‖ body).
pub(super) fn terra(secret: &str, timestamp_s: i64, body: &[u8]) -> String {
    let digest = digest(secret, &[timestamp_s.to_string().as_bytes(), b".", body]);
    format!("t={timestamp_s},v1={}", hex::encode(digest))
}

fn digest(secret: &str, message: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of every length: the error cannot be.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return Vec::new() };
    message.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_vendors_page_is_met() {
        let body = br#"{"type":"daily","user":{"user_id":"0f2c9a44-6d0e-4b3f-a0a5-58b9a1f3c7de","provider":"OURA","reference_id":"user-81"},"data":[{"metadata":{"start_time":"2026-09-09T00:00:00.000000+02:00","end_time":"2026-09-10T00:00:00.000000+02:00","upload_type":1},"distance_data":{"steps":8412}}],"version":"2022-03-16"}"#;
        let signature = terra("terra-signing-secret-71ab", 1_789_041_600, body);
        let expected = "t=1789041600,v1=1d3fef65a00cf17bdff56446838fcac5ecb8de88728c6aba2984ff67a054aded";
        assert_eq!(signature, expected);
    }
}
