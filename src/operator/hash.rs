//! Names and versions that are made from what they stand for.

use ring::digest::{SHA256, digest};

/// The first hexadecimal digits of the SHA-256 of this, 64 at most.
pub(crate) fn sha256(bytes: &[u8], digits: usize) -> String {
    let mut hash: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hash.truncate(digits);
    hash
}
