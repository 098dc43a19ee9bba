//! The lookup against Debian's docker-registry, with images that skopeo pushed.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod asker;
mod credentials;
mod down;
mod kinds;
mod memory;

use ashore_tests::harness::run_without_sandbox;
use std::process::ExitCode;

/// Lists tests by their modules.
macro_rules! of {
    ($($module:ident: $($test:ident)+;)*) => { &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test),)+)*] };
}

fn main() -> ExitCode {
    run_without_sandbox(
        of! {
            kinds: images_of_every_kind platforms_that_agree_or_differ what_is_no_image;
            credentials: passwords tokens one_tenant_does_not_learn_what_anothers_secret_opened each_registry_gets_its_own authorities;
            memory: an_image_is_asked_for_once what_is_known_is_not_asked_again a_tag_that_moves by_digest within_its_bound;
            down: dead_and_back silent a_mirror_stands_in a_mirror_that_is_down;
        },
        4,
    )
}
