//! What becomes of processes when a real kubelet stops their pods.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod admission;
mod endings;
mod install;
mod kinds;
mod stops;
mod workloads;

ashore_tests::node_tests![
    // First, since it waits for the minute to be full.
    workloads::cron_job,
    install::from_helm_install_to_a_graceful_stop,
    stops::the_textbook_case_without_and_with_ashore,
    stops::several_containers_each_with_its_own_exit_code,
    stops::arguments_of_an_image_entrypoint,
    stops::a_process_of_an_exec_is_asked_too,
    stops::exec_works_during_a_stop,
    stops::a_shorter_grace_period_on_deletion,
    kinds::a_native_sidecar_stops_after_the_app,
    kinds::an_init_container_that_runs_for_long,
    kinds::pod_security_restricted,
    kinds::host_pid,
    kinds::a_shared_process_namespace,
    kinds::the_image_runs_from_scratch,
    workloads::deployment,
    workloads::stateful_set,
    workloads::daemon_set,
    workloads::job_that_is_deleted,
    workloads::job_that_ends_by_itself,
    endings::exit_codes_of_pods_that_are_not_restarted,
    endings::restarted_in_place_after_a_crash,
    endings::restarted_in_place_by_the_liveness_probe,
    admission::quality_of_service_is_unchanged,
    admission::a_quota_and_a_limit_range_hold,
];
