//! Writes what is made from this crate's types: the chart's template of the CustomResourceDefinitions.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/ashore/templates/crds.yaml");
    std::fs::write(path, ashore_crd::template()?).map_err(|error| format!("{path}: {error}").into())
}
