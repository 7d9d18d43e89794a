plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "dev.slmexport.demo"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        applicationId = "dev.slmexport.demo"
        minSdk = libs.versions.minSdk.get().toInt()
        targetSdk = libs.versions.targetSdk.get().toInt()
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    // beside src/main/assets: the folder where bundles are dropped, as models/slm/<bundle>/
    sourceSets.named("main") { assets.directories.add("../models") }

    // models are mapped from where they lie in the APK
    androidResources {
        noCompress += listOf("pte", "ptd", "tflite", "litertlm", "onnx", "onnx_data", "data", "bin")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all {
                it.forkEvery = 1 // a native library belongs to one class loader, and Robolectric has its own
                it.environment("ORT_DISABLE_TELEMETRY", "1")
                // gradle test -Pslm.bundles=... -Pslm.tokenizers=...
                providers.gradlePropertiesPrefixedBy("slm.").get().forEach { (name, value) -> it.systemProperty(name, value) }
            }
        }
    }
}

dependencies {
    implementation(libs.bundles.runtimes)
    testImplementation(libs.bundles.test)
    androidTestImplementation(libs.bundles.android.test)
}
