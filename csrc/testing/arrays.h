// numpy arrays as raw pointers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

namespace spikeops::testing {

namespace py = pybind11;

// The array's memory as T*. 16-bit floats travel as uint16, so only the size of an element can be checked.
template <class T>
T* pointer(const py::array& array) {
    if (array.itemsize() != py::ssize_t(sizeof(T)))
        throw py::type_error("expected elements of " + std::to_string(sizeof(T)) + " bytes, got " +
                             std::to_string(array.itemsize()));
    if (!(array.flags() & py::array::c_style)) throw py::value_error("expected a C-contiguous array");
    return static_cast<T*>(const_cast<void*>(array.data()));
}

template <class T>
T* pointer(const std::optional<py::array>& array) {
    return array ? pointer<T>(*array) : nullptr;
}

}  // namespace spikeops::testing
