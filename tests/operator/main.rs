//! The operator's own affairs, against a real API server: what it keeps, what it puts right, and that the API server really calls it.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod admission;
mod again;
mod audit;
mod cert_manager;
mod chart;
mod check;
mod control;
mod crd;
mod deliveries;
mod election;
mod events;
mod explain;
mod front;
mod images;
mod missed;
mod nodes;
mod owners;
mod pods;
mod policies;
mod pull_secrets;
mod remedy;
mod repairs;
mod replica;
mod rights;
mod rotation;
mod secret;
mod statuses;

use ashore_tests::harness::{Test, run_without_sandbox};

const TESTS: &[Test] = &[
    ("admission::who_is_injected", admission::who_is_injected),
    ("admission::nobody_else_is_asked_about", admission::nobody_else_is_asked_about),
    ("again::a_lost_call_is_asked_again", again::a_lost_call_is_asked_again),
    ("again::and_what_must_not_be_lost_is_refused", again::and_what_must_not_be_lost_is_refused),
    ("again::replicas_are_killed_under_load", again::replicas_are_killed_under_load),
    ("again::from_one_replica_to_two_and_back", again::from_one_replica_to_two_and_back),
    ("again::the_right_is_missing", again::the_right_is_missing),
    ("again::the_right_changes_no_spec", again::the_right_changes_no_spec),
    ("again::a_certificate_without_the_names", again::a_certificate_without_the_names),
    ("repairs::the_configuration", repairs::the_configuration),
    ("repairs::a_fight_is_slow", repairs::a_fight_is_slow),
    ("repairs::the_secrets", repairs::the_secrets),
    ("election::the_leader_is_killed", election::the_leader_is_killed),
    ("election::the_leader_stops", election::the_leader_stops),
    ("election::the_api_server_is_not_there_yet", election::the_api_server_is_not_there_yet),
    ("election::the_api_server_restarts", election::the_api_server_restarts),
    ("chart::from_install_to_uninstall", chart::from_install_to_uninstall),
    ("chart::every_installation_is_taken", chart::every_installation_is_taken),
    ("chart::registries_are_asked", chart::registries_are_asked),
    ("cert_manager::renewed_and_moved_to_another_authority", cert_manager::renewed_and_moved_to_another_authority),
    ("rotation::under_load", rotation::under_load),
    ("rights::the_configuration_may_not_be_written", rights::the_configuration_may_not_be_written),
    ("rights::the_secrets_may_not_be_written", rights::the_secrets_may_not_be_written),
    ("rights::nothing_at_all", rights::nothing_at_all),
    ("rights::all_of_them_go_before_it_does", rights::all_of_them_go_before_it_does),
    ("rights::the_owner", rights::the_owner),
    ("missed::while_nobody_answered", missed::while_nobody_answered),
    ("missed::more_than_a_pass_can_look_at", missed::more_than_a_pass_can_look_at),
    ("missed::what_a_look_costs", missed::what_a_look_costs),
    ("missed::without_the_right", missed::without_the_right),
    ("policies::the_nearest_word_decides", policies::the_nearest_word_decides),
    ("policies::of_several_the_older_has_the_say", policies::of_several_the_older_has_the_say),
    ("policies::changed_deleted_and_made_again", policies::changed_deleted_and_made_again),
    ("policies::nobody_else_is_asked_about", policies::nobody_else_is_asked_about),
    ("policies::every_replica_follows", policies::every_replica_follows),
    ("remedy::one_at_a_time_until_one_does_not_come_back", remedy::one_at_a_time_until_one_does_not_come_back),
    ("remedy::held_back_for_as_long_as_it_takes", remedy::held_back_for_as_long_as_it_takes),
    ("remedy::whoever_leads", remedy::whoever_leads),
    ("remedy::by_the_program_itself", remedy::by_the_program_itself),
    ("pull_secrets::are_read_when_they_are_needed", pull_secrets::are_read_when_they_are_needed),
    ("nodes::are_known_by_their_labels", nodes::are_known_by_their_labels),
    ("deliveries::a_config_map_is_kept_and_put_back", deliveries::a_config_map_is_kept_and_put_back),
    ("deliveries::an_older_one_stays_while_a_pod_uses_it", deliveries::an_older_one_stays_while_a_pod_uses_it),
    ("deliveries::a_policy_asks_where_no_label_does", deliveries::a_policy_asks_where_no_label_does),
    ("deliveries::namespaces_go_meanwhile", deliveries::namespaces_go_meanwhile),
    ("deliveries::images_are_mounted_where_all_nodes_can", deliveries::images_are_mounted_where_all_nodes_can),
    ("deliveries::what_is_left_is_pruned_but_for_what_pods_use", deliveries::what_is_left_is_pruned_but_for_what_pods_use),
    ("deliveries::what_many_nodes_and_namespaces_cost", deliveries::what_many_nodes_and_namespaces_cost),
    ("owners::are_told_once", owners::are_told_once),
    ("check::before_an_install", check::before_an_install),
    ("check::after_an_install", check::after_an_install),
    ("check::by_its_services", check::by_its_services),
    ("check::with_the_rights_of_helm_test", check::with_the_rights_of_helm_test),
    ("explain::a_live_cluster", explain::a_live_cluster),
    ("explain::what_pull_secrets_open", explain::what_pull_secrets_open),
    ("images::of_every_kind", images::of_every_kind),
    ("images::with_few_rights", images::with_few_rights),
    ("crd::are_judged_as_the_reader_judges_them", crd::are_judged_as_the_reader_judges_them),
    ("crd::show_their_defaults_and_their_status", crd::show_their_defaults_and_their_status),
    ("crd::of_people_in_their_namespace", crd::of_people_in_their_namespace),
    ("crd::that_people_will_want", crd::that_people_will_want),
    ("statuses::count_pods_and_say_whether_they_hold", statuses::count_pods_and_say_whether_they_hold),
    ("statuses::name_who_is_in_the_way", statuses::name_who_is_in_the_way),
    ("statuses::say_what_cannot_be_used", statuses::say_what_cannot_be_used),
    ("statuses::outlive_the_leader", statuses::outlive_the_leader),
    ("statuses::wait_for_every_replica", statuses::wait_for_every_replica),
    ("statuses::do_without_counts", statuses::do_without_counts),
    ("statuses::what_many_cost", statuses::what_many_cost),
    ("audit::of_every_kind", audit::of_every_kind),
    ("audit::by_policies", audit::by_policies),
    ("audit::with_few_rights", audit::with_few_rights),
    ("audit::inside_of_what_cannot_be_looked_into", audit::inside_of_what_cannot_be_looked_into),
    ("secret::somebody_elses", secret::somebody_elses),
    ("secret::none_that_is_good", secret::none_that_is_good),
];

fn main() -> std::process::ExitCode {
    // Each has a control plane of its own, of several hundred MB.
    run_without_sandbox(TESTS, 2)
}
