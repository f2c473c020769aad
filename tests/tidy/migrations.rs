//! Migrations can be undone, and their numbers leave no gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Violation;

const DIGITS: usize = 4;

/// Under `migrations/<engine>/` there are `NNNN_what.up.sql` and `NNNN_what.down.sql`, from 0001 on without a
/// gap, and with the same numbers and names for every engine.
pub(crate) fn pairs(paths: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut engines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        let Some((engine, stem, direction)) = parts(path) else {
            let message = "name it migrations/<engine>/NNNN_what.up.sql or .down.sql";
            violations.push(Violation::of_file(path, message));
            continue;
        };
        engines.entry(engine).or_default().insert(stem);
        let other = if direction == "up" { "down" } else { "up" };
        let twin = format!("migrations/{engine}/{stem}.{other}.sql");
        if !paths.contains(&twin) {
            violations.push(Violation::of_file(path, format!("its other half is missing: write {twin}")));
        }
    }
    for (engine, stems) in &engines {
        let folder = format!("migrations/{engine}");
        for (index, stem) in stems.iter().enumerate() {
            let number = format!("{:0DIGITS$}", index + 1);
            if !stem.starts_with(&number) {
                let message = format!("{stem} stands where number {number} should: numbers are consecutive");
                violations.push(Violation::of_file(&folder, message));
                break;
            }
        }
        let elsewhere = engines.values().flatten().collect::<BTreeSet<_>>();
        for missing in elsewhere.into_iter().filter(|stem| !stems.contains(*stem)) {
            let message = format!("{missing} is missing: every engine has the same migrations");
            violations.push(Violation::of_file(&folder, message));
        }
    }
    violations
}

/// Engine, `NNNN_what`, and `up` or `down`.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (engine, file) = path.strip_prefix("migrations/")?.split_once('/')?;
    let (stem, direction) = file.strip_suffix(".sql")?.rsplit_once('.')?;
    let (number, what) = stem.split_once('_')?;
    let is_number = number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_digit());
    let is_name = !what.is_empty() && what.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (is_number && is_name && ["up", "down"].contains(&direction)).then_some((engine, stem, direction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[&str]) -> Vec<String> {
        let paths: Vec<String> = files.iter().map(|file| format!("migrations/{file}")).collect();
        pairs(&paths).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whole_and_consecutive_pairs_are_fine() {
        let sqlite = [
            "sqlite/0001_a.up.sql",
            "sqlite/0001_a.down.sql",
            "sqlite/0002_b.up.sql",
            "sqlite/0002_b.down.sql",
        ];
        assert_eq!(messages(&sqlite), [""; 0]);
        assert_eq!(messages(&[]), [""; 0]);
    }

    #[test]
    fn a_migration_without_its_other_half_is_caught() {
        assert_eq!(messages(&["sqlite/0001_a.up.sql"]).len(), 1);
        assert_eq!(messages(&["sqlite/0001_a.up.sql", "sqlite/0001_b.down.sql"]).len(), 3);
    }

    #[test]
    fn a_gap_in_the_numbers_is_caught() {
        assert_eq!(messages(&["sqlite/0002_a.up.sql", "sqlite/0002_a.down.sql"]).len(), 1);
        let twice = [
            "sqlite/0001_a.up.sql",
            "sqlite/0001_a.down.sql",
            "sqlite/0001_b.up.sql",
            "sqlite/0001_b.down.sql",
        ];
        assert_eq!(messages(&twice).len(), 1);
    }

    #[test]
    fn a_misnamed_migration_is_caught() {
        for file in [
            "sqlite/1_a.up.sql",
            "sqlite/0001_a.sql",
            "sqlite/0001-a.up.sql",
            "0001_a.up.sql",
            "sqlite/notes.md",
        ] {
            assert_eq!(messages(&[file]).len(), 1, "{file}");
        }
    }

    #[test]
    fn an_engine_that_lacks_a_migration_is_caught() {
        let files = [
            "sqlite/0001_a.up.sql",
            "sqlite/0001_a.down.sql",
            "postgres/0001_b.up.sql",
            "postgres/0001_b.down.sql",
        ];
        assert_eq!(messages(&files).len(), 2);
    }
}
