//! Jobs that end as soon as a section does.

use block_gs::Role;
use block_io::aio::{Wait, yield_now};
use scenarios::{Failing, Job, Manner, SIZE, above, child_name, in_layer, node, overlay, quiesced};

/// `/bdrv-drain/blockjob/commit_by_drained_end`
#[test]
fn blockjob_commit_by_drained_end() {
    in_layer(|bql| {
        let (child, driver) = node(bql, "child", Manner::of(SIZE));
        let parents = ["parent-0", "parent-1", "parent-2"].map(|name| {
            let manner = Manner::of(SIZE);
            above(bql, name, manner, "child", &child, Role::DATA).0
        });
        let [first, _, last] = parents.clone();
        let job = Job::start(bql, &[&parents[2]], Failing::Nothing, move |bql| {
            for parent in [&last, &first] {
                parent.drain(bql).detach_child("child").expect("detached");
            }
        });
        job.tell_to_complete(bql);
        let mut section = child.drain(bql);
        section.block_on(async {
            yield_now().await;
            yield_now().await;
        });
        assert!(job.is_paused());
        assert_eq!(job.outcome(), None);
        section.end();
        // The end of a section polls nothing.
        assert_eq!(job.outcome(), None);
        assert_eq!(driver.drain_count(), 0);
        bql.poll(Wait::Until(None));
        assert_eq!(job.outcome(), Some(0));
        let below = parents
            .each_ref()
            .map(|node| child_name(bql, node, "child"));
        assert_eq!(below, [None, Some("child".to_owned()), None]);
        for node in parents.iter().chain([&child]) {
            assert_eq!(quiesced(bql, node), 0, "{node:?}");
        }
    });
}

/// `/bdrv-drain/bdrv_drop_intermediate/poll`: there is no
/// `bdrv_drop_intermediate` here; a node is replaced by its backing image, in
/// a section that polls before.
#[test]
fn bdrv_drop_intermediate_poll() {
    in_layer(|bql| {
        let (base, _) = node(bql, "node-0", Manner::of(SIZE));
        let (middle, middle_driver) = overlay(bql, "node-1", &base);
        let (top, _) = overlay(bql, "node-2", &middle);
        let (held, held_driver) = overlay(bql, "job-node", &middle);
        let of_job = held.clone();
        let job = Job::start(bql, &[&held], Failing::Nothing, |_| drop(of_job));
        drop(held);
        job.tell_to_complete(bql);
        let mut section = middle.drain(bql);
        for _ in 0..2 {
            section.block_on(yield_now());
            assert_eq!(job.outcome(), None);
        }
        section.replace_with(&base).expect("replaced");
        assert_eq!(job.outcome(), None);
        section.end();
        assert_eq!(child_name(bql, &top, "backing").as_deref(), Some("node-0"));
        bql.poll_until(|_| job.outcome().is_some());
        while bql.poll(Wait::No) {}
        assert_eq!(held_driver.closes(), 1);
        drop(middle);
        while bql.poll(Wait::No) {}
        assert_eq!(middle_driver.closes(), 1);
        assert_eq!(base.view(bql).parents().count(), 1);
    });
}
