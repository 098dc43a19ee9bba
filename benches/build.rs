//! Compiles the program that the inits are to run: C without a C library, so that its own start costs next to nothing.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=init/part.c");
    println!("cargo:rerun-if-env-changed=CC");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let flags = "-O2 -Wall -Wextra -Werror -static -nostdlib -nostartfiles -ffreestanding -fno-stack-protector -fno-pie -no-pie -Wl,--build-id=none";
    let status = Command::new(&compiler).args(flags.split(' ')).args(["init/part.c", "-o"]).arg(format!("{out}/part")).status();
    let compiled = status.unwrap_or_else(|error| panic!("the C compiler ({compiler}) cannot be run: {error}; set CC to one"));
    assert!(compiled.success(), "{compiler} could not compile init/part.c");
}
