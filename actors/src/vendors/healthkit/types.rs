//! HealthKit's types, and what they become (vendors.md §4a). A new type is a row here.

use super::quantity::QuantityType;
use crate::domain::metric::Metric;
use crate::domain::unit::HOUR;

/// The kind of an event of ordinary samples (contract §3).
pub(super) const SAMPLE: &str = "sample";
/// The kind of an event of measurements of the body itself.
pub(super) const BODY: &str = "body";

/// What a sample is, by the name of its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SampleType {
    /// A number with a unit.
    Quantity(&'static QuantityType),
    /// An interval in one state of sleep.
    Sleep,
    /// An hour in which one stood or did not.
    StandHour,
    /// An interval of attention, whose length is its value.
    Mindful,
    /// Systolic and diastolic pressure, taken together.
    BloodPressure,
    /// A session with its totals.
    Workout,
    /// A type of Apple's that we have no metric for.
    PassedBy,
}

macro_rules! quantities {
    ($($constant:ident: samples [$($sample:literal),*], exports [$($export:literal),*] = $row:expr;)*) => {
        $(pub(super) static $constant: QuantityType = $row;)*

        /// Every row, with its names in samples and in exports.
        pub(super) static ALL: &[Row] = &[
            $(Row { kind: &$constant, samples: &[$($sample),*], exports: &[$($export),*] },)*
        ];

        /// The quantity of samples of this type.
        fn sampled(name: &[u8]) -> Option<&'static QuantityType> {
            match name { $($($sample => Some(&$constant),)*)* _ => None }
        }

        /// The quantity of exported points of this metric.
        pub(super) fn exported(name: &[u8]) -> Option<&'static QuantityType> {
            match name { $($($export => Some(&$constant),)*)* _ => None }
        }
    };
}

/// A quantity type and its names, folded: of samples, and of Health Auto Export's metrics.
pub(super) struct Row {
    pub(super) kind: &'static QuantityType,
    pub(super) samples: &'static [&'static [u8]],
    pub(super) exports: &'static [&'static [u8]],
}

const fn row(name: &'static str, metric: Metric) -> QuantityType {
    QuantityType::new(name, metric)
}

quantities! {
    HEART_RATE: samples [b"heartrate"], exports [b"heartrate"] = row("heartrate", Metric::HeartRate);
    RESTING_HEART_RATE: samples [b"restingheartrate"], exports [b"restingheartrate"] =
        row("restingheartrate", Metric::RestingHeartRate);
    WALKING_HEART_RATE:
        samples [b"walkingheartrateaverage", b"walkingheartrate"],
        exports [b"walkingheartrateaverage", b"walkingheartrate"] =
        row("walkingheartrateaverage", Metric::WalkingHeartRate);
    HRV:
        samples [b"heartratevariabilitysdnn"],
        exports [b"heartratevariability", b"heartratevariabilitysdnn"] =
        row("heartratevariabilitysdnn", Metric::Hrv).sdnn();
    // Apple's second variability, since iOS 27.
    HRV_RMSSD: samples [b"heartratevariabilityrmssd"], exports [b"heartratevariabilityrmssd"] =
        row("heartratevariabilityrmssd", Metric::Hrv).rmssd();
    HEART_RATE_RECOVERY:
        samples [b"heartraterecoveryoneminute"],
        exports [b"cardiorecovery", b"heartraterecovery"] =
        row("heartraterecoveryoneminute", Metric::HeartRateRecovery);
    OXYGEN_SATURATION:
        samples [b"oxygensaturation"],
        exports [b"bloodoxygensaturation", b"oxygensaturation"] =
        row("oxygensaturation", Metric::BloodOxygen);
    RESPIRATORY_RATE: samples [b"respiratoryrate"], exports [b"respiratoryrate"] =
        row("respiratoryrate", Metric::RespiratoryRate);
    BODY_TEMPERATURE: samples [b"bodytemperature"], exports [b"bodytemperature"] =
        row("bodytemperature", Metric::BodyTemperature);
    BASAL_TEMPERATURE: samples [b"basalbodytemperature"], exports [b"basalbodytemperature"] =
        row("basalbodytemperature", Metric::BodyTemperature);
    WRIST_TEMPERATURE:
        samples [b"applesleepingwristtemperature"],
        exports [b"applesleepingwristtemperature"] =
        row("applesleepingwristtemperature", Metric::SkinTemperature).or_deviation(Metric::TemperatureDeviation);
    STEPS: samples [b"stepcount"], exports [b"stepcount"] = row("stepcount", Metric::Steps).total();
    WALKED: samples [b"distancewalkingrunning"], exports [b"walkingrunningdistance"] =
        row("distancewalkingrunning", Metric::DistanceMeters).total();
    CYCLED: samples [b"distancecycling"], exports [b"cyclingdistance"] =
        row("distancecycling", Metric::DistanceMeters).total();
    SWUM: samples [b"distanceswimming"], exports [b"swimmingdistance"] =
        row("distanceswimming", Metric::DistanceMeters).total();
    ACTIVE_ENERGY: samples [b"activeenergyburned"], exports [b"activeenergy"] =
        row("activeenergyburned", Metric::ActiveCalories).total();
    BASAL_ENERGY: samples [b"basalenergyburned"], exports [b"basalenergyburned"] =
        row("basalenergyburned", Metric::BasalCalories).total();
    EXERCISE_TIME: samples [b"appleexercisetime"], exports [b"appleexercisetime"] =
        row("appleexercisetime", Metric::ExerciseMinutes).total();
    STAND_TIME: samples [b"applestandtime"], exports [b"applestandtime"] =
        row("applestandtime", Metric::StandMinutes).total();
    STAND_HOURS: samples [], exports [b"applestandhour"] =
        row("applestandhour", Metric::StandMinutes).total().counted(HOUR);
    FLIGHTS_CLIMBED: samples [b"flightsclimbed"], exports [b"flightsclimbed"] =
        row("flightsclimbed", Metric::FlightsClimbed).total();
    MINDFUL: samples [], exports [b"mindfulminutes"] = row("mindfulsession", Metric::MindfulMinutes).total();
    VO2_MAX: samples [b"vo2max"], exports [b"vo2max"] = row("vo2max", Metric::Vo2Max);
    BODY_MASS: samples [b"bodymass"], exports [b"weightbodymass"] = row("bodymass", Metric::Weight).body();
    BODY_FAT: samples [b"bodyfatpercentage"], exports [b"bodyfatpercentage"] =
        row("bodyfatpercentage", Metric::BodyFat).body();
    BODY_MASS_INDEX: samples [b"bodymassindex"], exports [b"bodymassindex"] =
        row("bodymassindex", Metric::Bmi).body();
    HEIGHT: samples [b"height"], exports [b"height"] = row("height", Metric::Height).body();
    LEAN_MASS: samples [b"leanbodymass"], exports [b"leanbodymass"] =
        row("leanbodymass", Metric::LeanMass).body();
    BLOOD_GLUCOSE: samples [b"bloodglucose"], exports [b"bloodglucose"] =
        row("bloodglucose", Metric::BloodGlucose);
    SYSTOLIC: samples [b"bloodpressuresystolic"], exports [] =
        row("bloodpressuresystolic", Metric::BloodPressureSystolic);
    DIASTOLIC: samples [b"bloodpressurediastolic"], exports [] =
        row("bloodpressurediastolic", Metric::BloodPressureDiastolic);
    // A workout's totals.
    WORKOUT_DURATION: samples [], exports [] = row("workoutduration", Metric::WorkoutDurationMinutes);
    WORKOUT_ENERGY: samples [], exports [] = row("workoutenergy", Metric::WorkoutCalories);
    WORKOUT_DISTANCE: samples [], exports [] = row("workoutdistance", Metric::WorkoutDistanceMeters);
    WORKOUT_AVERAGE: samples [], exports [] = row("workoutheartrateaverage", Metric::WorkoutHeartRateAverage);
    WORKOUT_MAX: samples [], exports [] = row("workoutheartratemax", Metric::WorkoutHeartRateMax);
    // Any part of a night; the time in bed has the widest range.
    NIGHT_PART: samples [], exports [] = row("nightpart", Metric::TimeInBedMinutes);
}

/// The longest name of a type, without underscores.
const NAME_MAX_BYTES: usize = 96;

/// A name without regard to case, `_`, spaces, `-`, `+` and `&` (older exports write `weight_&_body_mass`), on the stack:
/// each sample has at least one.
pub(super) struct Folded {
    bytes: [u8; NAME_MAX_BYTES],
    len: usize,
}

impl Folded {
    /// None for a name that is longer than any that we know.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut folded = Self { bytes: [0; NAME_MAX_BYTES], len: 0 };
        for byte in name.bytes().filter(|byte| !matches!(byte, b'_' | b' ' | b'-' | b'+' | b'&')) {
            *folded.bytes.get_mut(folded.len)? = byte.to_ascii_lowercase();
            folded.len += 1;
        }
        Some(folded)
    }

    /// What is left of it after the first of these prefixes that it has.
    pub(super) fn without<'a>(&'a self, prefixes: &[&str]) -> &'a [u8] {
        let name = &self.bytes[..self.len];
        prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_bytes())).unwrap_or(name)
    }
}

/// What Apple's identifiers begin with.
pub(super) const PREFIXES: [&str; 5] = [
    "hkquantitytypeidentifier",
    "hkcategorytypeidentifier",
    "hkcorrelationtypeidentifier",
    "hkdatatypeidentifier",
    "hkdatatype",
];

/// The type of this name, which apps write as `HKQuantityTypeIdentifierHeartRate`, `heartRate` or `heart_rate`.
pub(super) fn find(name: &str) -> Option<SampleType> {
    let folded = Folded::of(name)?;
    let name = folded.without(&PREFIXES);
    if let Some(quantity) = sampled(name) {
        return Some(SampleType::Quantity(quantity));
    }
    let other = OTHERS.iter().find(|(other, ..)| *other == name).map(|(_, kind, _)| *kind);
    other
        .or_else(|| name.starts_with(b"hkworkoutactivitytype").then_some(SampleType::Workout))
        .or_else(|| is_passed_by(name).then_some(SampleType::PassedBy))
}

/// Types whose samples are no number with a unit, and what they become. A workout has its own table.
pub(super) static OTHERS: &[(&[u8], SampleType, &[Metric])] = &[
    (b"sleepanalysis", SampleType::Sleep, &[Metric::SleepState]),
    (b"applestandhour", SampleType::StandHour, &[Metric::StandMinutes]),
    (b"mindfulsession", SampleType::Mindful, &[Metric::MindfulMinutes]),
    (
        b"bloodpressure",
        SampleType::BloodPressure,
        &[Metric::BloodPressureSystolic, Metric::BloodPressureDiastolic],
    ),
    (b"workout", SampleType::Workout, &[]),
    (b"workouttype", SampleType::Workout, &[]),
    (b"hkworkout", SampleType::Workout, &[]),
    (b"hkworkouttype", SampleType::Workout, &[]),
    (b"hkworkouttypeidentifier", SampleType::Workout, &[]),
];

/// Types of Apple's without a metric of ours: an app that sends them has done nothing wrong.
static PASSED_BY: &[&[u8]] = &[
    b"atrialfibrillationburden",
    b"physicaleffort",
    b"runningpower",
    b"timeindaylight",
    b"environmentalaudioexposure",
    b"environmentalsoundreduction",
    b"headphoneaudioexposure",
    b"audioexposureevent",
    b"headphoneaudioexposureevent",
    b"environmentalaudioexposureevent",
    b"runningspeed",
    b"runningstridelength",
    b"runninggroundcontacttime",
    b"runningverticaloscillation",
    b"cyclingpower",
    b"cyclingspeed",
    b"cyclingcadence",
    b"cyclingfunctionalthresholdpower",
    b"walkingspeed",
    b"walkingsteplength",
    b"walkingasymmetrypercentage",
    b"walkingdoublesupportpercentage",
    b"applewalkingsteadiness",
    b"applewalkingsteadinessevent",
    b"sixminutewalktestdistance",
    b"stairascentspeed",
    b"stairdescentspeed",
    b"applemovetime",
    b"swimmingstrokecount",
    b"distancewheelchair",
    b"distancedownhillsnowsports",
    b"pushcount",
    b"underwaterdepth",
    b"watertemperature",
    b"uvexposure",
    b"waistcircumference",
    b"nikefuel",
    b"insulindelivery",
    b"bloodalcoholcontent",
    b"numberofalcoholicbeverages",
    b"numberoftimesfallen",
    b"electrodermalactivity",
    b"peripheralperfusionindex",
    b"forcedvitalcapacity",
    b"forcedexpiratoryvolume1",
    b"peakexpiratoryflowrate",
    b"inhalerusage",
    b"applesleepingbreathingdisturbances",
    b"sleepapneaevent",
    b"workouteffortscore",
    b"estimatedworkouteffortscore",
    b"highheartrateevent",
    b"lowheartrateevent",
    b"irregularheartrhythmevent",
    b"lowcardiofitnessevent",
    b"handwashingevent",
    b"toothbrushingevent",
    b"menstrualflow",
    b"intermenstrualbleeding",
    b"cervicalmucusquality",
    b"ovulationtestresult",
    b"sexualactivity",
    b"food",
    b"electrocardiogram",
    b"heartbeatseries",
    b"activitysummary",
    b"stateofmind",
    b"pregnancy",
    b"pregnancytestresult",
    b"progesteronetestresult",
    b"lactation",
    b"contraceptive",
    b"irregularmenstrualcycles",
    b"infrequentmenstrualcycles",
    b"prolongedmenstrualperiods",
    b"persistentintermenstrualbleeding",
    b"bleedingduringpregnancy",
    b"bleedingafterpregnancy",
    b"hypertensionevent",
    b"distancerowing",
    b"distancepaddlesports",
    b"distanceskatingsports",
    b"distancecrosscountryskiing",
    b"rowingspeed",
    b"paddlesportsspeed",
    b"crosscountryskiingspeed",
    // Symptoms.
    b"abdominalcramps",
    b"acne",
    b"appetitechanges",
    b"bladderincontinence",
    b"bloating",
    b"breastpain",
    b"chesttightnessorpain",
    b"chills",
    b"constipation",
    b"coughing",
    b"diarrhea",
    b"dizziness",
    b"dryskin",
    b"fainting",
    b"fatigue",
    b"fever",
    b"generalizedbodyache",
    b"hairloss",
    b"headache",
    b"heartburn",
    b"hotflashes",
    b"lossofsmell",
    b"lossoftaste",
    b"lowerbackpain",
    b"memorylapse",
    b"moodchanges",
    b"nausea",
    b"nightsweats",
    b"pelvicpain",
    b"rapidpoundingorflutteringheartbeat",
    b"runnynose",
    b"shortnessofbreath",
    b"sinuscongestion",
    b"skippedheartbeat",
    b"sleepchanges",
    b"sorethroat",
    b"vaginaldryness",
    b"vomiting",
    b"wheezing",
];

fn is_passed_by(name: &[u8]) -> bool {
    PASSED_BY.contains(&name) || name.starts_with(b"dietary")
}
