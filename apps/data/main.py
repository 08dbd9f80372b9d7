"""The commands ``onetrunk data check|convert|digits|shapes``."""

from ..cli import Command
from .check import CheckOptions, check_data_set
from .convert import ConvertOptions, convert_data_set
from .digits import DigitsOptions, write_digits
from .shapes import ShapesOptions, write_shapes

COMMANDS = {
    "check": Command(check_data_set, CheckOptions, "look for bad images, faulty labels, duplicates and imbalance"),
    "convert": Command(convert_data_set, ConvertOptions, "write boxes and pictures in the format of COCO, VOC or YOLO"),
    "digits": Command(write_digits, DigitsOptions, "write handwritten digits as a folder of pictures"),
    "shapes": Command(write_shapes, ShapesOptions, "write generated scenes with every kind of annotation"),
}
