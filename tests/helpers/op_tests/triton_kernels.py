"""The Triton kernels, as they lie in the package."""

import importlib
import pkgutil


def all_kernels():
    """Name -> function, of all that spikeops.triton launches."""
    from triton.runtime.jit import JITFunction

    import spikeops.triton as package

    modules = [importlib.import_module(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    functions = [value for module in modules for value in vars(module).values() if isinstance(value, JITFunction)]
    return {function.__name__: function for function in functions if function.__name__.endswith("_kernel")}
