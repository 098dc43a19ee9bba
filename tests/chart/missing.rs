//! Values that are missing: `helm upgrade --reuse-values` hands a new chart the old one's values, without those that are new.

use crate::helm::{Helm, RELEASE, chart, values_file};
use ashore_tests::Outcome;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// Where nothing is a choice: `null` says that there is to be none of it.
const MAY_BE_NONE: [&str; 4] = ["nodeSelector", "priorityClassName", "resources", "topologySpreadConstraints"];

pub(crate) fn a_value_that_an_older_chart_did_not_have_is_the_default() -> Outcome {
    let helm = Helm::find()?;
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join(RELEASE);
    copy(Path::new(chart()), &older);
    let file = older.join("values.yaml");
    let values: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let mut paths = Vec::new();
    collect("", values.as_object().unwrap(), &mut paths);
    assert!(paths.len() > 60, "{paths:?}");
    // `host` has on what is off by default.
    for installation in ["defaults", "host"] {
        let given = values_file(installation);
        let whole = helm.render(installation);
        let render = |values: &Value| {
            fs::write(&file, values.to_string()).unwrap();
            helm.render_chart(older.to_str().unwrap(), given.as_deref())
        };
        for path in &paths {
            let mut without = values.clone();
            let (parent, name) = path.rsplit_once('/').unwrap();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            let rendered = render(&without).unwrap_or_else(|said| panic!("{installation} without {path}: {said}"));
            if MAY_BE_NONE.iter().all(|none| !path[1..].starts_with(none)) {
                let differs = rendered.iter().zip(&whole).find(|(one, other)| one != other);
                assert!(rendered.len() == whole.len() && differs.is_none(), "{installation} without {path}: {differs:?}");
            }
        }
        // And what was there before any of them.
        render(&Value::Object(Map::new())).unwrap_or_else(|said| panic!("{installation} without any value: {said}"));
    }
    Ok(())
}

/// The paths of all values, and of the objects that they are in.
fn collect(at: &str, values: &Map<String, Value>, paths: &mut Vec<String>) {
    for (name, value) in values.iter().filter(|(name, _)| !name.contains('/')) {
        let path = format!("{at}/{name}");
        if let Some(below) = value.as_object() {
            collect(&path, below, paths);
        }
        paths.push(path);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &target) } else { fs::copy(entry.path(), target).map(drop).unwrap() }
    }
}
