from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Session(_message.Message):
    __slots__ = ("information", "data")
    INFORMATION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    information: Information
    data: _containers.RepeatedCompositeFieldContainer[Data]
    def __init__(self, information: _Optional[_Union[Information, _Mapping]] = ..., data: _Optional[_Iterable[_Union[Data, _Mapping]]] = ...) -> None: ...

class Information(_message.Message):
    __slots__ = ("license", "platform", "revision", "server_id", "start_time")
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    license: str
    platform: str
    revision: int
    server_id: str
    start_time: int
    def __init__(self, license: _Optional[str] = ..., platform: _Optional[str] = ..., revision: _Optional[int] = ..., server_id: _Optional[str] = ..., start_time: _Optional[int] = ...) -> None: ...

class Data(_message.Message):
    __slots__ = ("key", "timestamp", "values")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    key: int
    timestamp: int
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, key: _Optional[int] = ..., timestamp: _Optional[int] = ..., values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("integer", "number")
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    integer: int
    number: float
    def __init__(self, integer: _Optional[int] = ..., number: _Optional[float] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
