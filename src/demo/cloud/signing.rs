//! The signatures of those vendors whose senders the rest of the program does not have (`vendors.md` §3 and §5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `X-WHOOP-Signature`: base64 of HMAC-SHA256(client secret, Unix milliseconds ‖ body).
pub(super) fn whoop(secret: &str, timestamp_ms: i64, body: &[u8]) -> String {
    STANDARD.encode(digest(secret, &[timestamp_ms.to_string().as_bytes(), body]))
}

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
    fn the_vectors_of_the_vendors_page_are_met() {
        let body = br#"{"user_id":456789,"id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10","type":"recovery.updated","trace_id":"0d9f2a1c-6a54-4a3e-8a54-2f0c7d1e4b55"}"#;
        let signature = whoop("whoop-client-secret-9e27", 1_789_041_600_123, body);
        assert_eq!(signature, "bSyxuEGDo07uhILGgNy59Lz0pCm+LHl5A+GzKPaStCE=");
        let body = br#"{"type":"daily","user":{"user_id":"0f2c9a44-6d0e-4b3f-a0a5-58b9a1f3c7de","provider":"OURA","reference_id":"user-81"},"data":[{"metadata":{"start_time":"2026-09-09T00:00:00.000000+02:00","end_time":"2026-09-10T00:00:00.000000+02:00","upload_type":1},"distance_data":{"steps":8412}}],"version":"2022-03-16"}"#;
        let signature = terra("terra-signing-secret-71ab", 1_789_041_600, body);
        let expected = "t=1789041600,v1=1d3fef65a00cf17bdff56446838fcac5ecb8de88728c6aba2984ff67a054aded";
        assert_eq!(signature, expected);
    }
}
