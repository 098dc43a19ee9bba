//! Real programs from Debian under the init, stopped as their images say: what they were doing is done, and nobody is killed.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod databases;
mod jvm;
mod runc;
mod support;
mod web;

use databases::{postgres_shuts_down_cleanly, redis_saves};
use jvm::a_jvm_started_by_a_shell_runs_its_hooks;
use runc::{
    a_child_that_the_oom_killer_took_is_told_of, forks_that_failed_for_want_of_pids_are_told_of, runc_kill_stops_everybody,
    runc_passes_codes_on, whom_others_kill_in_a_stop_is_not_taken_for_one_that_its_own_parent_has_reaped,
    whom_the_oom_killer_took_is_named_where_it_is_the_inits_own,
};
use web::{apache_finishes_a_request, gunicorn_behind_a_shell_finishes_a_request, gunicorn_finishes_a_request, nginx_finishes_a_request};

ashore_tests::tests![
    nginx_finishes_a_request,
    apache_finishes_a_request,
    gunicorn_finishes_a_request,
    gunicorn_behind_a_shell_finishes_a_request,
    postgres_shuts_down_cleanly,
    redis_saves,
    a_jvm_started_by_a_shell_runs_its_hooks,
    runc_kill_stops_everybody,
    runc_passes_codes_on,
    a_child_that_the_oom_killer_took_is_told_of,
    whom_others_kill_in_a_stop_is_not_taken_for_one_that_its_own_parent_has_reaped,
    whom_the_oom_killer_took_is_named_where_it_is_the_inits_own,
    forks_that_failed_for_want_of_pids_are_told_of,
];
