//! The operator's own affairs, against a real API server: what it keeps, what it puts right, and that the API server really calls it.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod admission;
mod cert_manager;
mod control;
mod election;
mod missed;
mod pods;
mod repairs;
mod replica;
mod rights;
mod rotation;
mod secret;

use ashore_tests::harness::{Test, run_without_sandbox};

const TESTS: &[Test] = &[
    ("admission::who_is_injected", admission::who_is_injected),
    ("admission::nobody_else_is_asked_about", admission::nobody_else_is_asked_about),
    ("repairs::the_configuration", repairs::the_configuration),
    ("repairs::a_fight_is_slow", repairs::a_fight_is_slow),
    ("repairs::the_secrets", repairs::the_secrets),
    ("election::the_leader_is_killed", election::the_leader_is_killed),
    ("election::the_leader_stops", election::the_leader_stops),
    ("election::the_api_server_restarts", election::the_api_server_restarts),
    ("cert_manager::renewed_and_moved_to_another_authority", cert_manager::renewed_and_moved_to_another_authority),
    ("rotation::under_load", rotation::under_load),
    ("rights::the_configuration_may_not_be_written", rights::the_configuration_may_not_be_written),
    ("rights::the_owner", rights::the_owner),
    ("missed::while_nobody_answered", missed::while_nobody_answered),
    ("missed::more_than_a_pass_can_look_at", missed::more_than_a_pass_can_look_at),
    ("missed::what_a_look_costs", missed::what_a_look_costs),
    ("missed::without_the_right", missed::without_the_right),
    ("secret::somebody_elses", secret::somebody_elses),
];

fn main() -> std::process::ExitCode {
    // Each has a control plane of its own, of several hundred MB.
    run_without_sandbox(TESTS, 2)
}
