//! Versions of Kubernetes' parts, as far as they tell what these can do.

use std::fmt;

/// A major and a minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Of Kubernetes, since when image volumes are there for good (KEP-4639). Before, a feature gate turns them off that neither the API
    /// server nor a node tells of, and on a server where it is off the volume is silently left out of the pod.
    pub const IMAGE_VOLUMES: Self = Self(1, 36);

    /// Reads `v1.36.2-eks-1234`, `2.1.0` or `1.36+`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self(major.parse().ok()?, rest[..digits].parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What starts a node's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd.
    Containerd(Version),
    /// CRI-O, whose versions are Kubernetes'.
    CriO(Version),
}

impl Runtime {
    /// Reads a node's `containerRuntimeVersion`, such as `containerd://2.1.3`; `None` for others.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = text.split_once("://")?;
        let version = Version::parse(version)?;
        match name {
            "containerd" => Some(Self::Containerd(version)),
            "cri-o" => Some(Self::CriO(version)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_they_are_written() {
        for (text, version) in [
            ("v1.36.2", Some(Version(1, 36))),
            ("v1.36.0-alpha.1+abc", Some(Version(1, 36))),
            ("1.36+", Some(Version(1, 36))),
            ("2.1.0-k3s1.32", Some(Version(2, 1))),
            ("v1", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert_eq!(Runtime::parse("containerd://2.1.3"), Some(Runtime::Containerd(Version(2, 1))));
        assert_eq!(Runtime::parse("cri-o://1.36.0"), Some(Runtime::CriO(Version(1, 36))));
        for other in ["docker://28.0", "containerd", "containerd://"] {
            assert_eq!(Runtime::parse(other), None, "{other}");
        }
    }
}
