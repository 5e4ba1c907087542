"""The command line: ``python -m lightning_modules fit --model ConvNet --data MNIST``."""

import inspect

import pytorch_lightning as pl
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

import lightning_modules  # noqa: F401  # short class names are looked up among what is imported

_FROM_DATA = ("input_shape", "classes")


class CommandLine(LightningCLI):
    """Lightning's command line, with the model shaped by the data it is given."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take from the data what a model needs to know of it (autoencoders know no classes)."""
        for name in _FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse is a wrong argument, not a crash."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            root = _root(error)
            if not isinstance(root, ValueError):
                raise
            self.parser.error(str(root))

    def after_instantiate_classes(self) -> None:
        """Forget links that the model did not take: Lightning keeps all as hyperparameters."""
        for name in set(_FROM_DATA) - set(inspect.signature(type(self.model)).parameters):
            self.model.hparams.pop(name, None)


def main(args: ArgsType = None) -> None:
    """Run one subcommand; ``args`` replace those of the process.

    Raises:
        SystemExit: the arguments are wrong, or only help was asked for.
    """
    CommandLine(
        model_class=pl.LightningModule,
        datamodule_class=pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        # The same everywhere: Lightning's own default depends on what else is installed.
        trainer_defaults={
            "logger": {
                "class_path": "pytorch_lightning.loggers.CSVLogger",
                "init_args": {"save_dir": "."},
            }
        },
        save_config_kwargs={"overwrite": True},
        parser_kwargs={
            "prog": "python -m lightning_modules",
            "description": "Train and test autoencoders and classifiers, as in: "
            "fit --model VanillaAutoencoder --data Digits --trainer.max_epochs 20",
        },
        args=args,
    )


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


if __name__ == "__main__":
    main()
