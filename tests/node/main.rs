//! What becomes of processes when a real kubelet stops their pods.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod admission;
mod ashore;
mod audit;
mod causes;
mod deliveries;
mod endings;
mod faults;
mod install;
mod kinds;
mod owners;
mod policies;
mod registries;
mod remedy;
mod stops;
mod traffic;
mod workloads;

ashore_tests::node_tests![
    ashore::put_back;
    // First, since it waits for the minute to be full.
    workloads::cron_job,
    // It takes the longest.
    causes::second::what_a_node_did_to_it,
    // There is one Ashore, so those that use it wait for each other: they are spread among the others. Where one that needs other
    // values than the default comes last, the chart is changed only as often as it has to be.
    install::from_helm_install_to_a_graceful_stop,
    stops::the_textbook_case_without_and_with_ashore,
    stops::several_containers_each_with_its_own_exit_code,
    stops::arguments_of_an_image_entrypoint,
    stops::a_process_of_an_exec_is_asked_too,
    stops::exec_works_during_a_stop,
    install::a_refusal_is_told_where_the_controller_is_asked_about,
    stops::a_shorter_grace_period_on_deletion,
    owners::whoever_may_edit_a_namespace_may_write_its_policies,
    policies::the_nearest_word_decides,
    kinds::a_native_sidecar_stops_after_the_app,
    kinds::an_init_container_that_runs_for_long,
    kinds::pod_security_restricted,
    kinds::host_pid,
    traffic::a_rollout_loses_no_request,
    policies::audit_touches_nothing,
    kinds::a_shared_process_namespace,
    audit::what_is_really_there,
    kinds::the_image_runs_from_scratch,
    workloads::deployment,
    workloads::drained,
    policies::a_policy_comes_changes_and_goes,
    workloads::stateful_set,
    workloads::daemon_set,
    faults::the_operator_rolls_under_load,
    workloads::job_that_is_deleted,
    workloads::job_that_ends_by_itself,
    endings::exit_codes_of_pods_that_are_not_restarted,
    causes::who_did_not_go_and_why,
    causes::who_else_killed_it,
    causes::what_took_its_time_away,
    causes::why_it_was_stopped,
    causes::what_its_hooks_did,
    causes::what_another_container_did,
    causes::a_job_past_its_deadline,
    causes::more_than_it_may_write,
    causes::a_fork_that_fails_for_want_of_pids,
    causes::told_where_people_look,
    endings::restarted_in_place_after_a_crash,
    endings::restarted_in_place_by_the_liveness_probe,
    admission::quality_of_service_is_unchanged,
    admission::a_quota_and_a_limit_range_hold,
    faults::a_replica_is_killed_under_load,
    faults::all_replicas_are_killed_and_come_back,
    faults::what_belongs_to_it_is_deleted_and_edited_under_load,
    faults::certificates_are_renewed_under_load,
    faults::what_was_missed_while_it_was_down_is_seen_afterwards,
    remedy::ten_workloads_of_which_one_does_not_come_back,
    registries::private_images_of_several_tenants,
    registries::a_tag_that_moves,
    registries::down_and_slow,
    deliveries::each_starts_and_stops_gracefully,
    deliveries::a_config_map_that_is_deleted_stops_nobody,
    deliveries::namespaces_come_and_go_while_pods_start,
    deliveries::an_uninstallation_takes_along_what_no_pod_uses,
    install::upgrades_rollback_and_uninstall_break_no_running_pod;
    // Everybody's watches end with the API server.
    alone: faults::the_api_server_is_restarted,
];
