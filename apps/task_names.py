"""What model files and cards call the apps that train heads; it imports nothing, for options and listings need it."""

#: Apps whose ``task.py`` can rebuild a task from its description.
TASKS = ("captioning", "classification", "detection", "localization", "segmentation", "vqa")
#: What a model file or card with heads of several apps names as its task (``multitask/``).
MULTITASK = "multitask"
