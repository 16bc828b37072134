//! Jobs that end together: the scenarios of `test-blockjob-txn.c`.

use block_common::error::errno;
use block_gs::BqlGuard;
use block_jobs::{JobBuilder, JobTransaction};
use scenarios::{Ends, Failing, Job, Manner, SIZE, in_layer, node};

/// Creates these in one transaction, whose handle is dropped, and starts
/// them.
fn start<const N: usize>(bql: &mut BqlGuard, plans: [(Ends, Failing); N]) -> [Job; N] {
    let together = JobTransaction::new(bql);
    let mut number = 0;
    let created = plans.map(|(ends, failing)| {
        let (disk, _) = node(bql, &format!("disk{number}"), Manner::of(SIZE));
        let builder = JobBuilder::new().id(format!("job{number}"));
        number += 1;
        let builder = builder.transaction(&together);
        let made = Job::create(bql, builder, &[&disk], ends, failing, |_| {});
        made.expect("created")
    });
    drop(together);
    created.map(|(created, job)| {
        created.start(bql).expect("started");
        job
    })
}

fn outcomes<const N: usize>(bql: &mut BqlGuard, jobs: &[Job; N]) -> [i32; N] {
    bql.poll_until(|_| jobs.iter().all(|job| job.outcome().is_some()));
    jobs.each_ref()
        .map(|job| job.outcome().expect("it has ended"))
}

fn single(failing: Failing, outcome: i32) {
    in_layer(|bql| {
        let jobs = start(bql, [(Ends::After(5), failing)]);
        assert_eq!(outcomes(bql, &jobs), [outcome]);
    });
}

/// `/single/success`
#[test]
fn single_success() {
    single(Failing::Nothing, 0);
}

/// `/single/failure`
#[test]
fn single_failure() {
    single(Failing::Run, errno::EIO);
}

/// `/pair/success`
#[test]
fn pair_success() {
    in_layer(|bql| {
        let plans = [1, 2].map(|rounds| (Ends::After(rounds), Failing::Nothing));
        let jobs = start(bql, plans);
        assert_eq!(outcomes(bql, &jobs), [0, 0]);
    });
}

/// `/pair/failure`
#[test]
fn pair_failure() {
    for failing in [0, 1] {
        in_layer(|bql| {
            // The one that fails is done first; the other has far to go.
            let plans = [0, 1].map(|job| match job == failing {
                true => (Ends::After(1), Failing::Run),
                false => (Ends::After(1_000_000), Failing::Nothing),
            });
            let jobs = start(bql, plans);
            let mut expected = [errno::ECANCELED; 2];
            expected[failing] = errno::EIO;
            assert_eq!(outcomes(bql, &jobs), expected);
        });
    }
}

/// `/pair/fail-cancel-race`
#[test]
fn pair_fail_cancel_race() {
    in_layer(|bql| {
        let plans = [1, 2].map(|rounds| (Ends::After(rounds), Failing::Nothing));
        let jobs = start(bql, plans);
        jobs[0].job().cancel(bql, true).expect("it runs");
        // Before the main loop looks at the first, the second has ended.
        jobs[1].job().kick();
        assert_eq!(outcomes(bql, &jobs), [errno::ECANCELED; 2]);
    });
}
