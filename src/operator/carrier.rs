//! The ConfigMap that carries the init: what it is called, what is in it, and whether one that is there is the right one. Decides only.

use crate::hash::sha256;
use crate::objects::Kind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The label of such a ConfigMap, with the name of the installation that keeps it.
pub const LABEL: &str = "ashore.dev/carries-init";
/// Its one key, and so the file's name in the pod.
const KEY: &str = "ashore-init";
/// The longest init, in bytes. It has some 32 KiB; a ConfigMap holds a MiB.
const LONGEST: u64 = 512 * 1024;
/// Hexadecimal digits of the hash in the name: as many as nobody meets twice by chance.
const DIGITS: usize = 10;

/// The ConfigMap for an init.
#[derive(Debug)]
pub struct Carrier {
    /// The installation that keeps it.
    installation: String,
    /// What nodes the init is for, in Go's names.
    pub architecture: &'static str,
    /// The ConfigMap's name: that of the installation, the architecture and the init's SHA-256.
    pub name: String,
    /// The init, as it stands in the ConfigMap.
    encoded: String,
}

/// Why a file is no init.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// It cannot be read.
    #[error("--init-binary: {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("--init-binary: {}: {what}; expected ashore-init, a Linux program for amd64 or arm64 of at most 512 KiB", file.display())]
    NoInit {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Carrier {
    /// For the init in a file.
    ///
    /// # Errors
    /// It cannot be read, or is no program.
    pub fn read(installation: &str, file: &Path) -> Result<Self, CarrierError> {
        let mut binary = Vec::new();
        File::open(file)
            .and_then(|open| open.take(LONGEST + 1).read_to_end(&mut binary))
            .map_err(|source| CarrierError::Unreadable { file: file.into(), source })?;
        Self::of(installation, &binary).map_err(|what| CarrierError::NoInit { file: file.into(), what })
    }

    fn of(installation: &str, binary: &[u8]) -> Result<Self, &'static str> {
        if binary.len() as u64 > LONGEST {
            return Err("it is too long");
        }
        let architecture = architecture(binary).ok_or("it is no such program")?;
        let name = format!("{}{architecture}-{}", prefix(installation), sha256(binary, DIGITS));
        Ok(Self { installation: installation.into(), architecture, name, encoded: STANDARD.encode(binary) })
    }

    /// What the label of it and its predecessors selects.
    pub fn selector(&self) -> String {
        format!("{LABEL}={}", self.installation)
    }

    /// Whether a ConfigMap with the label has a name that this program gives: none else is ours to delete.
    pub fn names(&self, name: &str) -> bool {
        is_name(&self.installation, name)
    }

    /// It, as it is created.
    pub fn body(&self) -> Value {
        json!({
            "apiVersion": Kind::ConfigMap.api_version(), "kind": Kind::ConfigMap.name(),
            "metadata": {"name": self.name, "labels": {LABEL: self.installation, "app.kubernetes.io/managed-by": "ashore"}},
            "immutable": true,
            "binaryData": {KEY: self.encoded},
        })
    }

    /// Whether this is it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, object: &Value) -> Result<(), &'static str> {
        let members = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
        if object["metadata"]["labels"][LABEL] != self.installation {
            return Err("it has not our label");
        }
        if object["immutable"] != true {
            return Err("it is not immutable");
        }
        if members("data") != 0 || members("binaryData") != 1 || object["binaryData"][KEY] != self.encoded {
            return Err("its content is not our init");
        }
        Ok(())
    }
}

/// Whether an installation gives such a name.
pub fn is_name(installation: &str, name: &str) -> bool {
    name.starts_with(&prefix(installation))
}

fn prefix(installation: &str) -> String {
    format!("{installation}-init-")
}

/// The architecture of an ELF program for Linux (`e_machine`, elf(5)).
fn architecture(binary: &[u8]) -> Option<&'static str> {
    match binary {
        // 64 bits, little-endian.
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => match binary.get(18..20)? {
            [62, 0] => Some("amd64"),
            [183, 0] => Some("arm64"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8) -> Vec<u8> {
        let mut binary = b"\x7fELF\x02\x01".to_vec();
        binary.resize(64, 0);
        binary[18] = machine;
        binary
    }

    #[test]
    fn the_name_says_what_is_in_it() {
        let carrier = Carrier::of("ashore", &program(62)).unwrap();
        let hash = "ashore-init-amd64-".len();
        assert!(carrier.name.starts_with("ashore-init-amd64-") && carrier.name.len() == hash + DIGITS, "{}", carrier.name);
        let mut other = program(62);
        other[63] = 1;
        assert_ne!(Carrier::of("ashore", &other).unwrap().name, carrier.name);
        assert_eq!(Carrier::of("ashore", &program(183)).unwrap().architecture, "arm64");
        assert!(carrier.names(&carrier.name) && !carrier.names("kube-root-ca.crt"));
    }

    #[test]
    fn what_is_no_init() {
        for (binary, what) in [
            (b"#!/bin/sh\n".to_vec(), "no such program"),
            (program(3), "no such program"),
            (vec![0x7f; 600_000], "too long"),
            (vec![], "no such"),
        ] {
            assert!(Carrier::of("ashore", &binary).unwrap_err().contains(what));
        }
        let missing = Carrier::read("ashore", Path::new("/nowhere")).unwrap_err().to_string();
        assert!(missing.starts_with("--init-binary: /nowhere: No such file"), "{missing}");
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let carrier = Carrier::of("ashore", &program(62)).unwrap();
        assert_eq!(carrier.check(&carrier.body()), Ok(()));
        for (pointer, value, what) in [
            ("/immutable", json!(false), "it is not immutable"),
            ("/immutable", Value::Null, "it is not immutable"),
            ("/binaryData/ashore-init", json!("eA=="), "its content is not our init"),
            ("/metadata/labels", json!({}), "it has not our label"),
        ] {
            let mut body = carrier.body();
            *body.pointer_mut(pointer).unwrap() = value;
            assert_eq!(carrier.check(&body), Err(what));
        }
        for (field, more) in [("data", json!({"x": "y"})), ("binaryData", json!({"ashore-init": carrier.encoded, "x": "eA=="}))] {
            let mut body = carrier.body();
            body[field] = more;
            assert_eq!(carrier.check(&body), Err("its content is not our init"));
        }
    }
}
