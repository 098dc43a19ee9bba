//! The few fields of a pod that matter here, borrowed from its JSON; everything else is passed over, never decoded.

use crate::field::{Field, Scalar, Text, at_most};
use crate::reference::Reference;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What begins the key of every annotation and label of ours.
pub(crate) const PREFIX: &str = "ashore.dev/";

/// The most containers that are read in a list: what [`crate::plan`] looks at, and the one that it adds.
pub(crate) const CONTAINERS: usize = 1001;
/// The most elements that are read in any other list (words, mounts, volumes).
const ELEMENTS: usize = 10_000;

/// A pod or pod template, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
pub struct Pod<'a> {
    #[serde(borrow, default)]
    pub(crate) metadata: Field<Metadata<'a>>,
    #[serde(borrow)]
    pub(crate) spec: Spec<'a>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    generate_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) annotations: Field<Notes<'a>>,
    #[serde(borrow, default)]
    pub(crate) labels: Field<Labels<'a>>,
    #[serde(borrow, default, deserialize_with = "at_most::<OWNERS, _, _>")]
    owner_references: Field<Vec<Owner<'a>>>,
}

/// The most owners of a pod that are read.
const OWNERS: usize = 1000;

/// One of a pod's owners.
#[derive(Debug, Deserialize)]
struct Owner<'a> {
    #[serde(borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(default)]
    controller: Option<bool>,
}

/// Annotations: ours, and whether the kubelet's mirror mark is among them.
#[derive(Debug, Default)]
pub(crate) struct Notes<'a> {
    pub(crate) ours: Vec<(Text<'a>, Scalar<'a>)>,
    pub(crate) mirror: bool,
}

/// Labels: ours, and the others, which policies select by.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    pub(crate) ours: Vec<(Text<'a>, Scalar<'a>)>,
    others: Vec<(Text<'a>, Scalar<'a>)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Labels<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
                let mut labels = Labels::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    let list = if key.starts_with(PREFIX) { &mut labels.ours } else { &mut labels.others };
                    // The others of so many matter to nobody.
                    if list.len() < ELEMENTS {
                        list.push((key, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Notes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Notes<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Notes<'de>, A::Error> {
                let mut notes = Notes::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.starts_with(PREFIX) {
                        notes.ours.push((key, map.next_value()?));
                    } else {
                        notes.mirror |= &*key == crate::annotations::MIRROR;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(notes)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    #[serde(borrow, default, deserialize_with = "at_most::<CONTAINERS, _, _>")]
    pub(crate) init_containers: Field<Vec<Container<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<CONTAINERS, _, _>")]
    pub(crate) containers: Field<Vec<Container<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<CONTAINERS, _, _>")]
    pub(crate) ephemeral_containers: Field<Vec<Ephemeral<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) volumes: Field<Vec<Named<'a>>>,
    #[serde(default)]
    pub(crate) termination_grace_period_seconds: Field<i64>,
    #[serde(borrow, default)]
    os: Option<Named<'a>>,
    #[serde(borrow, default)]
    node_selector: Option<NodeSelector<'a>>,
    #[serde(borrow, default)]
    affinity: Option<Affinity<'a>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) image_pull_secrets: Field<Vec<Named<'a>>>,
    #[serde(default)]
    pub(crate) security_context: Option<Security>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
}

/// The labels that tell what programs a node runs.
#[derive(Debug, Deserialize)]
struct NodeSelector<'a> {
    #[serde(borrow, default, rename = "kubernetes.io/os")]
    os: Option<Text<'a>>,
    #[serde(borrow, default, rename = "beta.kubernetes.io/os")]
    old_os: Option<Text<'a>>,
    #[serde(borrow, default, rename = "kubernetes.io/arch")]
    arch: Option<Text<'a>>,
    #[serde(borrow, default, rename = "beta.kubernetes.io/arch")]
    old_arch: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Affinity<'a> {
    #[serde(borrow, default)]
    node_affinity: Option<NodeAffinity<'a>>,
}

#[derive(Debug, Deserialize)]
struct NodeAffinity<'a> {
    #[serde(borrow, default, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<Required<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Required<'a> {
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    node_selector_terms: Field<Vec<NodeSelectorTerm<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeSelectorTerm<'a> {
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) match_expressions: Field<Vec<Requirement<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Requirement<'a> {
    #[serde(borrow, default)]
    pub(crate) key: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) operator: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) values: Field<Vec<Text<'a>>>,
}

impl<'a> Spec<'a> {
    /// What the nodeSelector says of the labels that matter here.
    pub(crate) fn node_selector(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.node_selector.iter().flat_map(|s| {
            [
                ("kubernetes.io/os", &s.os),
                ("beta.kubernetes.io/os", &s.old_os),
                ("kubernetes.io/arch", &s.arch),
                ("beta.kubernetes.io/arch", &s.old_arch),
            ]
        });
        all.filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    /// The terms of the required node affinity, of which one has to hold.
    pub(crate) fn required_terms(&self) -> &[NodeSelectorTerm<'a>] {
        let required = self.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()).and_then(|a| a.required.as_ref());
        required.map_or(&[], |required| required.node_selector_terms.items())
    }
}

/// The part of a pod's or container's security context that an added container must fit in with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Security {
    #[serde(default)]
    pub(crate) run_as_user: Option<i64>,
    #[serde(default)]
    pub(crate) seccomp_profile: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ephemeral<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) image: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) image: Option<Text<'a>>,
    #[serde(borrow, default)]
    image_pull_policy: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) command: Field<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) args: Field<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    pub(crate) working_dir: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) restart_policy: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) lifecycle: Option<Box<Lifecycle<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) volume_mounts: Field<Vec<Mount<'a>>>,
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) volume_devices: Field<Vec<Device<'a>>>,
    #[serde(borrow, default)]
    pub(crate) termination_message_path: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) termination_message_policy: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) resources: Option<Resources<'a>>,
    #[serde(default)]
    pub(crate) security_context: Option<Security>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) mount_path: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device<'a> {
    #[serde(borrow, default)]
    pub(crate) device_path: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lifecycle<'a> {
    #[serde(borrow, default)]
    pub(crate) stop_signal: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) pre_stop: Option<PreStop<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PreStop<'a> {
    #[serde(default)]
    pub(crate) sleep: Option<Sleep>,
    #[serde(borrow, default)]
    pub(crate) exec: Option<Exec<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sleep {
    #[serde(default)]
    pub(crate) seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Exec<'a> {
    #[serde(borrow, default, deserialize_with = "at_most::<ELEMENTS, _, _>")]
    pub(crate) command: Field<Vec<Text<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Resources<'a> {
    #[serde(borrow, default)]
    pub(crate) requests: Option<Amounts<'a>>,
    #[serde(borrow, default)]
    pub(crate) limits: Option<Amounts<'a>>,
}

/// The amounts that every container may ask for; extended resources (a GPU) are not ours to ask for.
#[derive(Debug, Deserialize)]
pub(crate) struct Amounts<'a> {
    #[serde(borrow, default)]
    pub(crate) cpu: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    pub(crate) memory: Option<Scalar<'a>>,
    #[serde(borrow, default, rename = "ephemeral-storage")]
    pub(crate) storage: Option<Scalar<'a>>,
}

impl Amounts<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none() && self.storage.is_none()
    }
}

/// Makes a struct be read from an object only. Derived code takes a list of its members, too, and what is patched must not
/// turn out to be one.
macro_rules! objects {
    ($($name:ident)*) => { $(
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object<'a>(PhantomData<$name<'a>>);
                impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        // The derived function, since an inherent one goes before a trait's.
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object(PhantomData))
            }
        }
    )* };
}

objects!(Pod Metadata Spec Container);

impl<'a> Metadata<'a> {
    pub(crate) fn annotations(&self) -> &[(Text<'a>, Scalar<'a>)] {
        self.annotations.given().map_or(&[], |notes| &notes.ours)
    }

    pub(crate) fn labels(&self) -> &[(Text<'a>, Scalar<'a>)] {
        self.labels.given().map_or(&[], |labels| &labels.ours)
    }
}

impl<'a> Pod<'a> {
    /// Reads a pod or pod template.
    ///
    /// # Errors
    /// The path of the field that is not of its type, and what is wrong with it.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, String> {
        // Whether it is UTF-8 is found out quicker at once than string by string.
        let read = std::str::from_utf8(json).map_or_else(|_| serde_json::from_slice(json), serde_json::from_str);
        read.or_else(|_| {
            // Read again with the path in mind: only a bad pod pays for that.
            let mut deserializer = serde_json::Deserializer::from_slice(json);
            let pod = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error.path().to_string().as_str() {
                "." => error.inner().to_string(),
                path => format!("{path}: {}", error.inner()),
            })?;
            deserializer.end().map_err(|error| error.to_string())?;
            Ok(pod)
        })
    }

    /// Reads the metadata of a pod; it seems to have no containers then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_metadata(json: &'a [u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow, default)]
            metadata: Field<Metadata<'a>>,
        }
        let Object { metadata } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Self { metadata, spec: Spec::default() })
    }

    /// Reads the pod that a text begins with, and says how long it is, in bytes; `None` if that is no pod, as [`crate::plan`] says in
    /// detail.
    pub fn read_first(json: &'a str) -> Option<(Self, usize)> {
        let mut values = serde_json::Deserializer::from_str(json).into_iter();
        let pod = values.next()?.ok()?;
        Some((pod, values.byte_offset()))
    }

    /// Its name, or what that begins with if it has none yet (`generateName`); empty if it says neither.
    pub fn name(&self) -> &str {
        let metadata = self.metadata.given();
        let names = metadata.into_iter().flat_map(|m| [&m.name, &m.generate_name]);
        names.filter_map(|name| name.as_deref()).find(|name| !name.is_empty()).unwrap_or_default()
    }

    pub(crate) fn annotations(&self) -> &[(Text<'a>, Scalar<'a>)] {
        self.metadata.given().map_or(&[], Metadata::annotations)
    }

    pub(crate) fn labels(&self) -> &[(Text<'a>, Scalar<'a>)] {
        self.metadata.given().map_or(&[], Metadata::labels)
    }

    /// The value of a label, if the pod has it.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let labels = self.metadata.given()?.labels.given()?;
        let (_, value) = labels.others.iter().chain(&labels.ours).find(|(name, _)| &**name == key)?;
        if let Scalar::Text(text) = value { Some(text) } else { None }
    }

    /// All of its labels.
    pub(crate) fn all_labels(&self) -> impl Iterator<Item = (&str, &Scalar<'a>)> {
        let labels = self.metadata.given().and_then(|metadata| metadata.labels.given());
        labels.into_iter().flat_map(|labels| labels.others.iter().chain(&labels.ours)).map(|(key, value)| (&**key, value))
    }

    /// The kind and the name of its controller, if it has one (Kubernetes API, `OwnerReference.controller`).
    pub(crate) fn controller(&self) -> Option<(&str, &str)> {
        let owners = self.metadata.given()?.owner_references.items();
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        Some((owner.kind.as_deref()?, owner.name.as_deref().unwrap_or_default()))
    }

    /// Whether it is the API object of a static pod: whatever is changed in it, the kubelet runs what its file says.
    pub(crate) fn is_mirror(&self) -> bool {
        self.metadata.given().and_then(|m| m.annotations.given()).is_some_and(|notes| notes.mirror)
    }

    pub(crate) fn is_windows(&self) -> bool {
        self.spec.os.as_ref().and_then(|os| os.name.as_deref()) == Some("windows") || !crate::nodes::may_be_linux(self)
    }
}

impl Container<'_> {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn image(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    /// Whether the kubelet looks for a new image under the same name at each start; the API server's default is filled in
    /// (k8s.io/kubernetes pkg/apis/core/v1, SetDefaults_Container).
    pub(crate) fn always_pulled(&self) -> bool {
        match self.image_pull_policy.as_deref() {
            Some(policy) => policy == "Always",
            None => Reference::parse(self.image()).is_ok_and(|reference| reference.moves()),
        }
    }

    /// Whether it is a native sidecar, if it is an init container (KEP-753).
    pub(crate) fn restarts_always(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}
