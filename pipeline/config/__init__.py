"""The frozen configs: every flag, its default, its range, and the sentence that explains it.

A field's name is the command-line flag, the MLproject parameter, the MLflow param and the table column. The modules
``*_flags`` declare the groups of flags, `command_configs` joins them into one config per command, `text` and
`command_line` read and write them, `identity` says which of them name a store, a training or a study, `recipes` reads
flags by the name of a recipe, and `places` names the folders. Does not own what the values do.
"""

from pipeline.config.base import (
    FIRST_MAX_PIXELS,
    IMAGE_SIZE_STEP,
    MAX_PIXELS,
    MOST_PIXELS,
    Augment,
    Config,
    DamagedModel,
    OptimizerName,
    Resize,
    Schedule,
    UserError,
    Variant,
    first_line,
    variables_of,
    with_variables,
    without_passwords,
)
from pipeline.config.chosen_flags import (
    FROM_SCRATCH,
    PRETRAINED_SIZE_PX,
    chosen_by_photos,
    least_epochs,
    most_epochs,
    open_flags,
)
from pipeline.config.command_configs import (
    AblateConfig,
    DemoConfig,
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    MainConfig,
    PredictConfig,
    PreprocessConfig,
    RollbackConfig,
    ServeConfig,
    SuspectsConfig,
    TrainConfig,
    TuneConfig,
)
from pipeline.config.data_flags import DataConfig, IntakeConfig
from pipeline.config.extras import install_command
from pipeline.config.identity import identifying_flags, restore_config, values_as_before
from pipeline.config.objectives import OBJECTIVES, Objective
from pipeline.config.places import DATA_FOLDER, EXPORTS_FOLDER, REPORTS_FOLDER, RUNS_FOLDER
from pipeline.config.promotion_flags import PromotionConfig
from pipeline.config.serving_flags import ModelDataConfig
from pipeline.config.training_flags import StructureConfig, TrainingConfig, weights_by_variant, weights_table
from pipeline.config.weights_flags import WeightsConfig

__all__ = [
    "DATA_FOLDER", "EXPORTS_FOLDER", "FIRST_MAX_PIXELS", "FROM_SCRATCH", "IMAGE_SIZE_STEP", "MAX_PIXELS", "MOST_PIXELS",
    "OBJECTIVES", "PRETRAINED_SIZE_PX", "REPORTS_FOLDER", "RUNS_FOLDER", "AblateConfig", "Augment", "Config",
    "DamagedModel", "DataConfig", "DemoConfig", "DoctorConfig", "EvaluateConfig", "ExportConfig", "IntakeConfig",
    "MainConfig", "ModelDataConfig", "Objective", "OptimizerName", "PredictConfig", "PreprocessConfig",
    "PromotionConfig", "Resize", "RollbackConfig", "Schedule", "ServeConfig", "StructureConfig", "SuspectsConfig",
    "TrainConfig", "TrainingConfig", "TuneConfig", "UserError", "Variant", "WeightsConfig", "chosen_by_photos",
    "first_line", "identifying_flags", "install_command", "least_epochs", "most_epochs", "open_flags", "restore_config",
    "values_as_before", "variables_of", "weights_by_variant", "weights_table", "with_variables", "without_passwords",
]  # fmt: skip
