//! Makes the images of the node: `node-images ASHORE FOLDER`, where ASHORE is the static program.

use ashore_tests::image::Image;
use ashore_tests::paths;
use ashore_tests::programs::{self, program};
use std::io::{Error, Result};
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(ashore), Some(folder), None) = (words.next(), words.next(), words.next()) else {
        return Err(Error::other("usage: node-images ASHORE FOLDER"));
    };
    Image::new()
        .entrypoint(["/pause"])
        .user("65535:65535")
        .program("pause", &program("pause"))?
        .write(&["registry.test/pause:1"], &folder.join("pause.tar"))?;
    // As the Dockerfile has it; also under the name that is the default for the image that brings the init.
    let names = ["docker.io/library/ashore:dev", concat!("docker.io/library/ashore:", env!("CARGO_PKG_VERSION"))];
    Image::new()
        .entrypoint(["/bin/ashore"])
        .user("65532:65532")
        .program("bin/ashore", &ashore)?
        .program("ashore-init", &paths::init())?
        .write(&names, &folder.join("ashore.tar"))?;
    // By two names: a container can be changed from one to the other.
    programs::image()?.write(&["registry.test/programs:1", "registry.test/programs:2"], &folder.join("programs.tar"))
}
