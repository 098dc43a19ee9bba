//! What a pod gets once, however many of its containers are wrapped: the init container and its volume, the raised grace
//! period, and the record of it all in the marker.

use crate::annotations::{INJECTED, STATUS};
use crate::bring;
use crate::field::{Field, Scalar};
use crate::flags;
use crate::json::Json;
use crate::marker::{Before, Marker, Raised, Was};
use crate::patch::escape;
use crate::planner::Planner;
use crate::pod::Pod;
use crate::{ContainerPlan, Op, Outcome, Reason, Refusal};
use serde_json::json;
use std::borrow::Cow;

/// Where a pod's grace period is.
pub(crate) const GRACE: &str = "/spec/terminationGracePeriodSeconds";

impl Planner<'_, '_> {
    /// Raises the pod's grace period to the least that the policy gives, or lowers it to the most.
    pub(crate) fn set_grace(&mut self) {
        let field = &self.pod.spec.termination_grace_period_seconds;
        let stated = field.given().copied();
        if self.grace == flags::pod_grace(stated, None, None) {
            return;
        }
        self.ops.push(match field {
            Field::Absent => Op::add(GRACE, self.grace),
            _ => Op::replace(GRACE, self.grace),
        });
        // Raised twice, it goes back to what it was before the first time.
        match &mut self.marker.before.grace {
            Some(raised) => raised.to = self.grace,
            none => *none = Some(Raised { was: Was::of(field), from: stated, to: self.grace }),
        }
    }

    /// The marker annotation and the label.
    pub(crate) fn mark(&mut self, containers: &[ContainerPlan]) -> Result<(), Refusal> {
        self.marker.skipped = containers
            .iter()
            .filter_map(|container| match &container.outcome {
                Outcome::Skipped(Reason::AlreadyInjected | Reason::OwnInit | Reason::Ephemeral) | Outcome::Wrapped(_) => None,
                Outcome::Skipped(reason) => Some((container.name.clone(), reason.code().to_owned())),
            })
            .collect();
        let status = serde_json::to_string(&self.marker).map_err(|error| Refusal::NotAPod(error.to_string()))?;
        let metadata = match &self.pod.metadata {
            Field::Given(metadata) => metadata,
            _ => {
                let metadata = json!({"annotations": {STATUS: status}, "labels": {INJECTED: "true"}});
                self.ops.push(set("/metadata", &self.pod.metadata, metadata));
                return Ok(());
            }
        };
        match &metadata.annotations {
            Field::Given(notes) => {
                let path = format!("/metadata/annotations/{}", escape(STATUS));
                let there = notes.ours.iter().any(|(key, _)| &**key == STATUS);
                let status = Json::string(&status);
                self.ops.push(if there { Op::replace(path, status) } else { Op::add(path, status) });
            }
            none => self.ops.push(set("/metadata/annotations", none, json!({STATUS: status}))),
        }
        match &metadata.labels {
            Field::Given(notes) => {
                let path = format!("/metadata/labels/{}", escape(INJECTED));
                match notes.ours.iter().find(|(key, _)| &**key == INJECTED) {
                    None => self.ops.push(Op::add(path, Json::string("true"))),
                    Some((_, Scalar::Text(text))) if &**text == "true" => {}
                    Some(_) => self.ops.push(Op::replace(path, "true")),
                }
            }
            none => self.ops.push(set("/metadata/labels", none, json!({INJECTED: "true"}))),
        }
        Ok(())
    }

    /// The volume and, where one is needed, the init container, if they are missing. The container comes last: it moves the others' indexes.
    pub(crate) fn bring(&mut self, has_init: bool) {
        let Marker { volume, mount, init, delivery, .. } = &self.marker;
        let image = &self.wide.init_image;
        let spec = &self.pod.spec;
        if !spec.volumes.items().iter().any(|v| v.name.as_deref() == Some(volume)) {
            self.ops.push(added("/spec/volumes", &spec.volumes, |json| bring::volume(json, volume, delivery, image)));
        }
        if let Some(init) = init.as_ref().filter(|_| !has_init) {
            let given = matches!(spec.init_containers, Field::Given(_));
            let mut json = Json::with_room(640);
            json.push(if given { "" } else { "[" });
            bring::init_container(&mut json, self.pod, init, image, volume, mount);
            json.push(if given { "" } else { "]" });
            self.ops.push(if given {
                Op::add("/spec/initContainers/0", json)
            } else {
                set("/spec/initContainers", &spec.init_containers, json)
            });
        }
    }
}

/// What of the pod's own members is not there, for [`crate::undo`].
pub(crate) fn before(pod: &Pod<'_>) -> Before {
    let metadata = pod.metadata.given();
    let label = pod.labels().iter().find(|(key, _)| &**key == INJECTED);
    Before {
        metadata: Was::of(&pod.metadata),
        annotations: metadata.map_or(Was::Absent, |m| Was::of(&m.annotations)),
        labels: metadata.map_or(Was::Absent, |m| Was::of(&m.labels)),
        init_containers: Was::of(&pod.spec.init_containers),
        volumes: Was::of(&pod.spec.volumes),
        label: label.map(|(_, value)| value.to_value()),
        grace: None,
    }
}

/// Sets a member that is absent or null.
fn set<T>(path: impl Into<Cow<'static, str>>, field: &Field<T>, value: impl Into<Json>) -> Op {
    match field {
        Field::Absent => Op::add(path, value),
        _ => Op::replace(path, value),
    }
}

/// Puts an element, written by `element`, at the end of a list that may be absent or null.
pub(crate) fn added<T>(path: impl Into<Cow<'static, str>>, field: &Field<Vec<T>>, element: impl FnOnce(&mut Json)) -> Op {
    let mut path = path.into();
    let mut json = Json::with_room(128);
    if let Field::Given(_) = field {
        path.to_mut().push_str("/-");
        element(&mut json);
        Op::add(path, json)
    } else {
        json.push("[");
        element(&mut json);
        json.push("]");
        set(path, field, json)
    }
}
