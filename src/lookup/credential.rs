//! What opens a registry.

use ring::digest::{Context, SHA256};
use std::fmt;

/// What opens a registry, or a part of one.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// For Basic authentication, or to get a token with (RFC 7617).
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth 2 refresh token, by which a token server gives access tokens (`identitytoken` in Docker's configuration).
    IdentityToken(String),
    /// A token that the registry itself takes (`registrytoken` in Docker's configuration).
    RegistryToken(String),
}

/// What tells credentials apart, without giving them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl Credential {
    /// What tells it from others.
    pub fn id(&self) -> CredentialId {
        let mut context = Context::new(&SHA256);
        let parts: [&str; 3] = match self {
            Self::Password { user, password } => ["password", user, password],
            Self::IdentityToken(token) => ["identity", token, ""],
            Self::RegistryToken(token) => ["registry", token, ""],
        };
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        CredentialId(id)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(withheld)",
            Self::IdentityToken(_) => "IdentityToken(withheld)",
            Self::RegistryToken(_) => "RegistryToken(withheld)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn its_id_tells_it_from_others() {
        assert_eq!(password("a", "b").id(), password("a", "b").id());
        let others =
            [password("ab", ""), password("", "ab"), Credential::IdentityToken("ab".into()), Credential::RegistryToken("ab".into())];
        for (i, one) in others.iter().enumerate() {
            assert!(others.iter().skip(i + 1).all(|other| other.id() != one.id()), "{i}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert!(!format!("{:?}", password("somebody", "sesame")).contains("sesame"));
    }
}
