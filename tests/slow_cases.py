"""Cases of parametrized tests, and tests in a browser, that are for `make test-slow`. Others like them stay in `make test`.

A case is slow if it takes a second or more, or if there are many of its kind. Another case would notice the same fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# {what stays in `make test`: ids of the slow cases, as regular expressions, below tests/}
SLOW: dict[str, Sequence[str]] = {
    "The same on a disk. S3 itself: store/test_s3.py, store/test_conformance.py, and reading damaged files with SQL.": (
        r"store/test_concurrency.py::test_readers_beside_writers_that_are_killed\[s3\]",
        r"store/test_conformance.py::test_a_damaged_table_is_an_error_not_wrong_numbers\[s3\]",
        r"store/test_readers.py::test_readers_writers_and_verify_at_once\[s3\]",
        r"store/test_readers.py::test_damage_is_an_error_that_names_the_file\[s3-by_table-.*\]",
        r"store/test_recovery.py::test_a_(lost_table_of_a_training_costs_no_epoch|part_does_not_use_a_damaged_checkpoint)\[s3\]",
        r"store/test_verify.py::test_a_sweep_finds_by_size_what_verify_would\[s3\]",
        r"store/test_verify.py::test_found_by_name_and_exactly_that_recomputed\[s3-(truncated checkpoint|flipped commit)\]",
        r"store/test_whole.py::test_a_file_is_whole_at_every_moment\[s3\]",
        r"store/test_concurrency.py::test_killed_before_the_commit_nothing_is_there\[s3-[12]\]",
        r"store/test_damaged_generations.py::test_only_its_parts_are_computed_again\[s3-.*\]",
        r"store/test_compaction.py::test_(a_real_store_says_the_same|readers_writers_and_compaction_at_once)\[s3\]",
    ),
    "Two or more cases of the same comparison of an engine with its plain reference.": (
        r"stages/test_flip_options.py::test_the_same_choices_as_zeroing_for_real\[\{('norm_over_batch': True)?\}\]",
        r"stages/test_flip_search.py::test_the_same_choices_as_the_plain_search\[(None|16)-0\]",
        r"stages/test_forward.py::test_every_dropouts_step_can_be_compiled_as_a_whole\[(none|standard .*|sparse .*)\]",
        r"models/test_kept.py::test_a_training_has_the_bits_of_plain_factors\[vit_small-(standard|sparse) .*-bf16\]",
        r"stages/test_frozen.py::test_going_on_from_any_epoch_is_bit_identical\[off-(?!tied).*\]",
        r"stages/test_frozen.py::test_bit_equal_to_a_loop_that_evaluates_from_epoch_2_on\[(?!tied).*-off\]",
        r"stages/test_retrain.py::test_every_group_against_the_plain_way\[(res1|res2|conv3).*\]",
        r"stages/test_synchronisation.py::test_transfers_do_not_grow_with_the_number_of_batches\[.*-crop_flip-.*\]",
        r"stages/test_train.py::test_going_on_from_any_epoch_is_bit_identical\[crop_flip-(?!tied).*\]",
        r"stages/test_trajectory.py::test_the_same_bits_from_any_state\[(plain|stopped)\]",
        r"stages/test_synchronisation.py::test_transfers_do_not_grow_with_the_number_of_batches\[.* (element|weight)\]",
        r"run/test_resume.py::test_stopped_after_every_epoch\[(?!example_tied).*-crop_flip\]",
        r"run/test_resume.py::test_stopped_after_every_epoch\[(standard|sparse) (channel|weight)-none\]",
        r"run/test_resume.py::test_a_lost_checkpoint_is_replayed\[.*-(cut|empty)\]",
        r"run/test_resume.py::test_damaged_state_means_a_fresh_start\[.*-(cut|empty)\]",
    ),
    "The other case.": (
        r"stages/test_edit.py::test_rows_against_one_network_at_a_time\[test\]",
        r"models/test_weight_matrices.py::test_every_weight_is_in_a_layer_that_multiplies_it\[timm transformer\]",
        r"stages/test_flip_after.py::test_against_a_whole_pass_per_search\[all\]",
        r"stages/test_flip_options.py::test_activations_with_the_other_options\[None\]",
        r"stages/test_flip_options.py::test_an_examples_result_does_not_depend_on_the_others\[weight\]",
        r"stages/test_flip_search.py::test_an_examples_result_does_not_depend_on_the_others\[None\]",
        r"stages/test_flip_search.py::test_the_same_choices_under_masks\[own\]",
        r"stages/test_flip_search.py::test_what_the_folded_network_replays_is_what_it_would_compute\[None\]",
        r"stages/test_forward.py::test_frozen_statistics_reach_what_is_compiled\[off\]",
        r"stages/test_retrain_options.py::test_a_groups_result_does_not_depend_on_its_company\[fields0\]",
        r"stages/test_retrain_options.py::test_stopped_after_perfect_epochs\[in_a_row\]",
        r"stages/test_second_split.py::test_its_own_batch_norm\[train-frozen-True\]",
        r"stages/test_synchronisation.py::test_a_flip_search_reads_a_few_times_per_step\[None\]",
        r"stages/test_train_options.py::test_interrupted_after_every_epoch\[all\]",
        r"run/test_resume.py::test_a_later_analysis_that_needs_a_pruned_epoch\[(all|rewound)\]",
        r"run/test_memory.py::test_fewer_together_give_the_same_rows\[1-expected1\]",
        r"run/test_memory.py::test_a_part_that_does_not_fit_alone_is_a_failure_.*\[gradients-epoch-1\]",
        r"run/test_by_shape.py::test_work_is_that_of_a_cpu\[(definition|running)\]",
        r"stages/test_deterministic.py::test_a_training\[vit_small\]",
        r"commands/test_dry_run.py::test_accelerators_on_which_nothing_is_trained\[xpu-.*\]",
        r"run/test_resume.py::test_killed_before_every_change_of_the_store\[all\]",
        r"models/test_gates.py::test_gradients_against_finite_differences\[False\]",
        r"models/test_vit_small.py::test_(the_same_function_and_gradients|gradients_of_gates_by_central_differences)\[patch\]",
        r"commands/test_bad_input.py::test_as_a_process\[arguments0-2\]",
        r"commands/test_summary.py::test_no_word_is_broken_on_a_narrow_terminal\[80\]",
        r"commands/test_terminal.py::test_every_command\[ascii\]",
    ),
    "Cases on both sides of each bound.": (
        r"papers/maini2023/test_flipped_neurons.py::test_layers_of_the_neurons\[(0.0|0.09|0.25)-.*\]",
        r"papers/maini2023/test_tied_dropout.py::test_the_trend\[rows[123]-.*\]",
        r"papers/maini2023/test_tied_dropout.py::test_what_dropping_costs\[(mnist|svhn).*\]",
    ),
    "A case of each kind.": (
        r"stages/test_fake_gpu.py::test_(evaluation|rewinding|retraining_evaluates|gradients_forward)\[resnet50\]",
        r"stages/test_fake_gpu.py::test_a_step_of_a_flip_search_forward\[resnet50\]",
        r"stages/test_units.py::test_(heads_and_hidden_units_of_a_transformer|masks_of_a_tied_training)",
        r"stages/test_depth.py::test_the_probes_of_every_architecture\[(resnet50|vit_small|timm:.*)-.*\]",
        r"store/test_patience.py::test_faults_of_an_object_store\[(cut_upload|slow)\]",
        r"commands/test_claims.py::test_the_store_is_listed_once\[arguments[23]-sweep0\]",
        r"commands/test_data.py::test_a_dry_run_needs_no_files\[(mnist|fashion_mnist)\]",
        r"report/test_browser.py::test_downloads_are_the_charts_data\[True\]",
        r"report/test_browser.py::test_it_works_offline_and_fits\[400\]",
        r"report/test_browser.py::test_text_stands_out\[(True-light|False-dark)\]",
        r"report/test_explorer_browser.py::test_it_fits_and_can_be_read\[(1300-.*|400-light)\]",
    ),
}

# Whole tests. In `make test` the page opens in the browser, is linked to, downloaded from and searched. What it holds and
# how it is marked up, test_html.py and test_explorer.py check without a browser.
WHOLE = (
    r"report/test_browser.py::test_(charts_follow_.*|interactive_charts_lose_nothing_of_the_stills|keyboard|screen_reader)",
    r"report/test_browser.py::test_(pointing_at_a_value_tells_it|without_scripts_the_pictures_are_there)",
    r"report/test_browser.py::test_(numbers_of_an_axis_do_not_touch|print_shows_all_and_nothing_interactive)",
    r"report/test_browser.py::test_the_papers_numbers_are_in_sight_on_a_phone",
    r"report/test_explorer_browser.py::test_(a_link_names_its_set|a_link_to_what_is_not_there_says_so|arrows_reach_.*)",
    r"report/test_explorer_browser.py::test_(far_below_.*|keys_alone|screen_reader|the_most_alike_.*|without_images_.*)",
    r"report/test_export.py::test_the_same_bytes_twice_and_in_another_process",
    r"report/test_html.py::test_the_same_in_another_process",
    r"models/test_resnet50.py::test_the_same_function_at_the_full_width",
    r"analysis/test_atlas.py::test_a_plugin_in_a_store_joins",
)


def slow(ids: Iterable[str]) -> tuple[set[str], list[str]]:
    """(those of the tests' ids that are slow, the expressions that match none of them)."""
    ids, found, unused = list(ids), set(), []
    for pattern in (*(p for patterns in SLOW.values() for p in patterns), *WHOLE):
        matching = {name for name in ids if re.fullmatch(pattern, name)}
        found |= matching
        if not matching:
            unused.append(pattern)
    return found, unused
