//! Takes an injection back, to the very value that was there before.

use crate::annotations::{INJECTED, STATUS};
use crate::command::INIT;
use crate::marker::{List, Mark, Marker, Raised, Unusable, VERSION, Was};
use crate::patch::escape;
use crate::record::GRACE;
use crate::{Op, Patch, UndoError};
use serde_json::Value;
use std::borrow::Cow;

/// The patch that takes an injected pod (or template) back to what it was before; empty if it was not injected.
///
/// What others have changed since is left as they made it: a container whose command is no longer ours, a grace period that
/// is no longer the one that was set.
///
/// # Errors
/// What of our own mark in it cannot be understood.
pub fn undo(pod: &Value) -> Result<Patch, UndoError> {
    let Some(status) = pod.pointer("/metadata/annotations").and_then(|annotations| annotations.get(STATUS)) else {
        return Ok(Patch::default());
    };
    let no = |what: String| UndoError::Marker { annotation: STATUS, what };
    let text = status.as_str().ok_or_else(|| no("it is not a string".into()))?;
    let marker = Marker::parse(text).map_err(|unusable| {
        no(match unusable {
            Unusable::Later(version) => format!("it has version {version}, and this one reads {VERSION}"),
            Unusable::NotOurs(what) => what,
        })
    })?;
    let mut ops = Vec::new();
    for mark in &marker.wrapped {
        container(pod, &marker, mark, &mut ops);
    }
    let before = &marker.before;
    if let Some(init) = &marker.init {
        take_element(pod, "/spec/initContainers", before.init_containers, |c| named(c, init), &mut ops);
    }
    take_element(pod, "/spec/volumes", before.volumes, |v| named(v, &marker.volume), &mut ops);
    if let Some(raised) = &before.grace {
        grace(pod, raised, &mut ops);
    }
    metadata(pod, &marker, &mut ops);
    Ok(Patch(ops))
}

fn named(value: &Value, name: &str) -> bool {
    value.get("name").and_then(Value::as_str) == Some(name)
}

/// Gives a member back what it was before it was added to, if nothing else is in it.
fn take_member(path: impl Into<Cow<'static, str>>, was: Was, ops: &mut Vec<Op>) {
    ops.push(match was {
        Was::Absent => Op::remove(path),
        Was::Null => Op::replace(path, Value::Null),
        Was::Empty | Was::Given => Op::replace(path, Value::Array(Vec::new())),
    });
}

/// Takes the one element that is ours out of a list, and the list with it where it was not there before.
fn take_element(pod: &Value, path: impl Into<Cow<'static, str>>, was: Was, ours: impl Fn(&Value) -> bool, ops: &mut Vec<Op>) {
    let path = path.into();
    let Some(list) = pod.pointer(&path).and_then(Value::as_array) else { return };
    let Some(at) = list.iter().position(ours) else { return };
    if list.len() == 1 && matches!(was, Was::Absent | Was::Null) {
        take_member(path, was, ops);
    } else {
        ops.push(Op::remove(format!("{path}/{at}")));
    }
}

fn container(pod: &Value, marker: &Marker, mark: &Mark, ops: &mut Vec<Op>) {
    let list: &'static str = List::pointer(mark.list);
    let containers = pod.pointer(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let Some(index) = containers.iter().position(|c| named(c, &mark.name)) else { return };
    let at = format!("{list}/{index}");
    let init = format!("{}/{INIT}", marker.mount);
    let words = |field: &str| containers[index].get(field).and_then(Value::as_array);
    let head = words("command").and_then(|command| command.first()) == Some(&Value::from(init.as_str()));
    match ["command", "args"].iter().find_map(|field| Some((field, without(words(field)?, &init)?))) {
        Some((_, rest)) if head && mark.command == Was::Given => ops.push(Op::replace(format!("{at}/command"), rest)),
        // The words of the image that were written down go with the field.
        Some(_) if head => take_member(format!("{at}/command"), mark.command, ops),
        // Another webhook's program was put in front of the init since, and stays.
        Some((field, rest)) => ops.push(Op::replace(format!("{at}/{field}"), rest)),
        None => {}
    }
    take_element(
        pod,
        format!("{at}/volumeMounts"),
        mark.volume_mounts,
        |mount| named(mount, &marker.volume) && mount.get("mountPath").and_then(Value::as_str) == Some(&marker.mount),
        ops,
    );
}

/// The words without the init and its flags; `None` if it is not among them. No flag is `--` alone, so the first one ends them.
fn without(words: &[Value], init: &str) -> Option<Vec<Value>> {
    let start = words.iter().position(|word| word == init)?;
    let flags = words[start..].iter().position(|word| word == "--")?;
    Some([&words[..start], &words[start + flags + 1..]].concat())
}

fn grace(pod: &Value, raised: &Raised, ops: &mut Vec<Op>) {
    if pod.pointer(GRACE).and_then(Value::as_i64) == Some(raised.to) {
        match raised.from {
            Some(seconds) => ops.push(Op::replace(GRACE, seconds)),
            None => take_member(GRACE, raised.was, ops),
        }
    }
}

/// The marker and the label, and what held them where that was not there before.
fn metadata(pod: &Value, marker: &Marker, ops: &mut Vec<Op>) {
    let before = &marker.before;
    let members = |path: &str| pod.pointer(path).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    let label = pod.pointer("/metadata/labels").is_some_and(|labels| labels.get(INJECTED).is_some());
    let annotations_go = members("/metadata/annotations") == 1 && matches!(before.annotations, Was::Absent | Was::Null);
    let labels_go = label && members("/metadata/labels") == 1 && matches!(before.labels, Was::Absent | Was::Null);
    if annotations_go && labels_go && members("/metadata") == 2 && matches!(before.metadata, Was::Absent | Was::Null) {
        return take_member("/metadata", before.metadata, ops);
    }
    if annotations_go {
        take_member("/metadata/annotations", before.annotations, ops);
    } else {
        ops.push(Op::remove(format!("/metadata/annotations/{}", escape(STATUS))));
    }
    let path = format!("/metadata/labels/{}", escape(INJECTED));
    match &before.label {
        _ if !label => {}
        Some(value) => ops.push(Op::replace(path, value.clone())),
        None if labels_go => take_member("/metadata/labels", before.labels, ops),
        None => ops.push(Op::remove(path)),
    }
}
