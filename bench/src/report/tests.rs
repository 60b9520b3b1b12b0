use super::*;
use crate::cases;
use crate::ganesha::Names;
use crate::sides::Kind;

fn sample(per_second: f64) -> Sample {
    let mut sample = Sample::bound(per_second, Some(1 << 20));
    let rate = sample.rate.as_mut().unwrap();
    rate.busy.record(2_500_000).unwrap();
    sample
}

fn cost(per_second: f64, value: f64) -> Sample {
    Sample {
        figures: vec![Figure::new("processor", "s per GiB", value)],
        ..sample(per_second)
    }
}

fn outcome() -> Outcome {
    let side = |name: &str, names| Side {
        name: name.to_owned(),
        kind: Kind::Ganesha(names),
    };
    let sides = [
        side("headrace", Names::Unsynced),
        side("other", Names::Unsynced),
    ];
    let mut outcome = Outcome::new(&cases::ALL[0], &sides);
    outcome.sides[0].samples = vec![cost(100.0, 0.5), cost(300.0, 0.5), cost(200.0, 0.25)];
    outcome.sides[1].samples = vec![cost(100.0, 2.0), cost(100.0, 1.0), cost(50.0, 1.0)];
    outcome.add_bound("fio", sample(400.0));
    outcome
}

fn run(folder: &Path) -> Run<'_> {
    Run {
        disk: folder,
        rounds: 3,
        seconds: 5,
        odd: Vec::new(),
        notes: vec!["noted".to_owned()],
    }
}

#[test]
fn a_ratio_is_of_the_same_round_and_told_with_its_spread() {
    let text = lines(&outcome());
    assert!(
        text.contains("| headrace | 200 (100 to 300) = 200 MiB/s | – | 2.5 ms |"),
        "{text}"
    );
    assert!(
        text.contains("| other | 100 (50 to 100) = 100 MiB/s | 3.00 (1.00 to 4.00) |"),
        "{text}"
    );
    assert!(
        text.contains("| fio | 400 (400 to 400) = 400 MiB/s | 0.25 (0.25 to 0.25) |"),
        "{text}"
    );
}

#[test]
fn a_cost_stands_beside_that_of_the_other_side() {
    let text = lines(&outcome());
    assert!(
        text.contains("| what | unit | headrace | other |"),
        "{text}"
    );
    assert!(
        text.contains("| processor | s per GiB | 0.500 (0.250 to 0.500) | 1.0 (1.0 to 2.0); headrace to it 0.25 (0.25 to 0.50) |"),
        "{text}"
    );
}

#[test]
fn a_side_that_can_not_be_measured_is_told_with_the_reason() {
    let layouts = cases::ALL.iter().find(|case| case.name == "layout-read");
    let ganesha = Side {
        name: "ganesha".to_owned(),
        kind: Kind::Ganesha(Names::Unsynced),
    };
    let text = lines(&Outcome::new(layouts.unwrap(), &[ganesha]));
    assert!(
        text.contains("ganesha isn't measured here: its back end"),
        "{text}"
    );
}

#[test]
fn a_report_is_there_for_people_programs_and_eyes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &run(folder.path()), &[outcome()]).unwrap();
    let told: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(
        told["cases"][0]["sides"][0]["rounds"][1]["rate"]["per_second"],
        300.0
    );
    let picture = fs::read_to_string(folder.path().join("write-1m.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("headrace"));
    let text = fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(text.contains("write-1m.svg") && text.contains("3 rounds of 5 s"));
    assert!(text.contains("All settings are the defaults") && text.contains("- noted"));
}

#[test]
fn a_report_says_what_was_not_as_durable_as_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run {
        odd: vec!["no barriers".to_owned()],
        ..run(folder.path())
    };
    write(folder.path(), &run, &[]).unwrap();
    let text = fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(text.contains("Not as durable as by default: no barriers"));
    assert!(!text.contains("All settings are the defaults"));
}

#[test]
fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
    let spread = Spread::of([4.0, 1.0, 2.0, 8.0].into_iter());
    let told = Spread {
        median: 3.0,
        least: 1.0,
        most: 8.0,
    };
    assert_eq!(spread, Some(told));
    assert_eq!(Spread::of(std::iter::empty()), None);
}
